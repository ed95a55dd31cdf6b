package client

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/reason"
)

func gzipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.Bytes()
}

// repeated is a text, and another n times.
func repeated(start, text string, n int) io.Reader {
	block := strings.Repeat(text, 10_000)
	readers := []io.Reader{strings.NewReader(start)}
	for range n / 10_000 {
		readers = append(readers, strings.NewReader(block))
	}
	return io.MultiReader(readers...)
}

// TestTooLarge: what is small on the wire must not become large in memory.
func TestTooLarge(t *testing.T) {
	alerts := strings.TrimSuffix(strings.Repeat("{},", 9_990), ",")
	tests := []struct {
		name string
		body io.Reader
		of   int64 // alerts of the incident
		mem  uint64
	}{
		{"32 million rows", repeated(`{"value":[1`, ",1", 32_000_000), 0, 8 << 20},
		{"rows of objects", repeated(`{"value":[{}`, ",{}", 10_000_000), 0, 8 << 20},
		{"21 million alerts in a row", repeated(`{"value":[{"incidentId":1,"alerts":[{}`, ",{}", 21_000_000), 0, 8 << 20},
		{"21 million alerts in many rows", repeated(`{"value":[{"incidentId":1}`, `,{"incidentId":1,"alerts":[`+alerts+`]}`, 20_000), 0, 24 << 20},
		{"21 million alerts of one incident", repeated(`{"value":[{}`, ",{}", 21_000_000), 7, 8 << 20},
		{"more bytes than allowed", repeated(`{"x":[1`, ",1", 10_000_000), 0, 8 << 20},
		{"blanks without end", repeated(`{"value":[]}`, " ", 10_000_000), 0, 40 << 20},
		{"megabytes where times are due", strings.NewReader(`{"value":[{}` + strings.Repeat(`,{"createdTime":"`+strings.Repeat("x", 1<<20)+`"}`, 9)), 0, 8 << 20},
		{"a text without end", repeated(`{"value":[{"incidentId":1,"assignedTo":"`, "x", 10_000_000), 0, 40 << 20},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			read := int64(0)
			c := newTest(t, roundTrip(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(test.body)}, nil
			}), func(o *Options) {
				o.MaxResponseBytes = 8 << 20
				o.Observe = func(call Call) { read = call.Bytes }
			})
			req := first
			if test.of != 0 {
				req = listing.Request{Link: "/x", AlertsOf: test.of}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.List(t.Context(), req)
			runtime.ReadMemStats(&after)
			if e := failure(t, err); !e.TooLarge || e.Reason != reason.Decode || e.Status != 200 {
				t.Errorf("got %+v", e)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > test.mem {
				t.Errorf("%d MiB allocated for %d bytes, want at most %d MiB", got>>20, read, test.mem>>20)
			}
		})
	}
	for _, size := range []int{1999, 2000, 2001} {
		body := `{"value":[{"incidentId":1}],"x":"` + strings.Repeat("x", size-35) + `"}`
		page, err := newTest(t, answer(200, body), func(o *Options) { o.MaxResponseBytes = 2000 }).List(t.Context(), first)
		if size != len(body) || (err == nil) != (size <= 2000) || err == nil && len(page.Rows) != 1 {
			t.Errorf("%d bytes: got %+v, %v", len(body), page, err)
		} else if err != nil && (!failure(t, err).TooLarge || !strings.Contains(err.Error(), "--api.max-response-bytes")) {
			t.Errorf("%d bytes: got %v", len(body), err)
		}
	}
}

// TestManyTexts: texts are kept to share them, but not each that ever came.
func TestManyTexts(t *testing.T) {
	page := 0
	c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		page++
		var b strings.Builder
		b.WriteString(`{"value":[{"incidentId":1,"alerts":[{}`)
		for i := range 9000 {
			_, _ = fmt.Fprintf(&b, `,{"category":"%d-%d-%0200d"}`, page, i, 0)
		}
		b.WriteString(`]}]}`)
		return answer(http.StatusOK, b.String())(r)
	}), nil)
	kept := func() uint64 {
		if _, err := c.List(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		var is runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&is)
		return is.HeapAlloc
	}
	before := kept()
	for range 3 {
		kept()
	}
	if after := kept(); after > before+6<<20 {
		t.Errorf("%d MiB more are kept after four pages", (after-before)>>20)
	}
	runtime.KeepAlive(c)
}

// TestBoundedReader: past its bound it fails, as often as it is asked.
func TestBoundedReader(t *testing.T) {
	b := &boundedReader{Reader: http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("0123456789")), 5)}
	got := 0
	for range 10 {
		n, err := b.Read(make([]byte, 3))
		if got += n; n < 0 || err == nil && got > 5 {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	if got != 5 || b.err == nil {
		t.Errorf("%d bytes, %v", got, b.err)
	}
}

// TestOverHTTP: gzip and connections that are used again, over a real
// connection, whatever the answer was.
func TestOverHTTP(t *testing.T) {
	var mode atomic.Pointer[string]
	set := func(to string) { mode.Store(&to) }
	remotes := map[string]bool{}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remotes[r.RemoteAddr] = true
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") || r.Header.Get("Authorization") != "Bearer token" {
			t.Errorf("got %v", r.Header)
		}
		switch *mode.Load() {
		case "redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "refused":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprint(w, strings.Repeat("x", 10_000))
		default:
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(gzipped(`{"value":[{"incidentId":1}]}` + strings.Repeat(" ", 10_000)))
		}
	}))
	defer api.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	read := int64(0)
	c := newTest(t, transport, func(o *Options) {
		o.BaseURL = api.URL
		o.Observe = func(call Call) { read = call.Bytes }
	})
	for range 3 {
		set("")
		if page, err := c.List(t.Context(), first); err != nil || len(page.Rows) != 1 || page.Date.IsZero() || read != 10_028 {
			t.Fatalf("%+v, %v, %d bytes", page, err, read)
		}
		set("redirect")
		if _, err := c.List(t.Context(), first); failure(t, err).Location != api.URL+"/elsewhere" {
			t.Errorf("got %+v", err)
		}
		set("refused")
		if _, err := c.List(t.Context(), first); failure(t, err).Status != 503 {
			t.Errorf("got %+v", err)
		}
	}
	if len(remotes) != 1 {
		t.Errorf("%d connections, want 1", len(remotes))
	}
}
