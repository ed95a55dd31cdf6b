// Package wire brings calls to the simulated services and their answers back,
// by HTTP as it should be. What else can happen to an answer on its way is a
// [Line].
package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// Call is a request that was read.
type Call struct {
	// Base is the scheme and host that it was sent to; Query is as it came.
	Method, Base, Path, Query, Body string
	Header                          http.Header
}

// maxForm bounds what is read of a request's body.
const maxForm = 64 << 10

// Read reads a request that was sent to base. An error is that of its body.
func Read(r *http.Request, base string) (*Call, error) {
	c := &Call{Method: r.Method, Base: base, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header}
	if r.Body != nil && r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxForm))
		if err != nil {
			return nil, err
		}
		c.Body = string(body)
	}
	return c, nil
}

// Reply is an answer before it is on its way.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
	// Write appends the body to what it gets, once the answer is decided on and
	// no lock is held; nil: Body is it.
	Write func(b []byte) []byte
	// Line is what happens to the answer on its way; nil: it arrives.
	Line Line
}

// Line sends an answer in a way of its own.
type Line interface {
	Serve(w http.ResponseWriter, r *http.Request, rep *Reply)
}

// NewReply has a header to write to, and no status yet.
func NewReply() *Reply { return &Reply{Header: make(http.Header)} }

// Fill sets a body, and its type unless it is empty.
func (r *Reply) Fill(status int, contentType string, body []byte) {
	r.Status, r.Body, r.Write = status, body, nil
	if len(body) > 0 {
		r.Header.Set("Content-Type", contentType)
	}
}

// JSON sets a small body.
func (r *Reply) JSON(status int, v any) { r.Fill(status, "application/json; charset=utf-8", JSON(v)) }

// Later sets a body that is written when no lock is held any more.
func (r *Reply) Later(status int, write func(b []byte) []byte) {
	r.Status, r.Write = status, write
	r.Header.Set("Content-Type", "application/json; odata.metadata=minimal; charset=utf-8")
}

// Finish writes the body, and compresses it for a client that accepts that.
func (r *Reply) Finish(c *Call) {
	if r.Write != nil {
		r.Body = r.Write(nil)
	}
	if len(r.Body) == 0 || !strings.Contains(c.Header.Get("Accept-Encoding"), "gzip") {
		return
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil { // the level is a constant
		return
	}
	_, _ = w.Write(r.Body) // a bytes.Buffer takes everything
	_ = w.Close()
	r.Body = b.Bytes()
	r.Header.Set("Content-Encoding", "gzip")
}

// WriteHeader sends the status and the headers, which promise length bytes.
func (r *Reply) WriteHeader(w http.ResponseWriter, length int) {
	w.Header()["Date"] = nil // net/http has its own
	maps.Copy(w.Header(), r.Header)
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(r.Status)
}

// Handler serves what answer says.
func Handler(answer func(*Call) *Reply) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		c, err := Read(r, scheme+"://"+r.Host)
		if err != nil {
			http.Error(w, "unreadable request", http.StatusBadRequest)
			return
		}
		rep := answer(c)
		if rep.Line != nil {
			rep.Line.Serve(w, r, rep)
			return
		}
		rep.WriteHeader(w, len(rep.Body))
		_, _ = w.Write(rep.Body) // a client that is gone is none of the server's concern
	})
}

// JSON writes maps of texts and numbers, which can always be written.
func JSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("simulator: %v", err))
	}
	return b
}
