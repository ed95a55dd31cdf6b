package simulator

import (
	"errors"
	"io"
	"net/http"
	"strconv"
)

// RoundTripper is the tenant without a network in between, for tests in a
// synctest bubble, where a real connection would not do. Answers are streamed,
// a broken connection is an error.
func (t *Tenant) RoundTripper() http.RoundTripper { return transport{t.Handler()} }

type transport struct{ handler http.Handler }

var errBroken = errors.New("connection reset by peer")

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr, in.Host = r.URL.RequestURI(), "192.0.2.1:1234", r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, pipe := io.Pipe()
	w := &answerWriter{header: make(http.Header), pipe: pipe, begun: make(chan int, 1)}
	broken := make(chan struct{})
	go func() {
		defer func() {
			if recover() != nil {
				close(broken)
				_ = pipe.CloseWithError(errBroken)
				return
			}
			w.WriteHeader(http.StatusOK)
			_ = pipe.Close()
		}()
		t.handler.ServeHTTP(w, in)
	}()
	select {
	case status := <-w.begun:
		resp := &http.Response{
			Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1",
			ProtoMajor: 1, ProtoMinor: 1, Header: w.sent, Body: body, ContentLength: -1, Request: r,
		}
		// A request that is given up breaks the body, too.
		go func() {
			<-r.Context().Done()
			_ = pipe.CloseWithError(r.Context().Err())
		}()
		return resp, nil
	case <-broken:
		return nil, errBroken
	case <-r.Context().Done():
		_ = body.Close()
		return nil, r.Context().Err()
	}
}

type answerWriter struct {
	header, sent http.Header
	pipe         *io.PipeWriter
	begun        chan int
	wrote        bool
}

func (w *answerWriter) Header() http.Header { return w.header }

func (w *answerWriter) WriteHeader(status int) {
	if !w.wrote {
		w.wrote, w.sent = true, w.header.Clone()
		w.begun <- status
	}
}

func (w *answerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// Flush implements http.Flusher; nothing is held back.
func (w *answerWriter) Flush() {}
