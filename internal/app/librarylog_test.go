package app

import (
	"bufio"
	"bytes"
	"io"
	"log" //nolint:depguard // to put back what it was
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"m365_defender_exporter/internal/rawtest"
)

// lockedBuffer is written by a goroutine of the library's.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestLogLibraries: a gateway that repeats the request on the idle connection, unasked, has
// net/http show it.
func TestLogLibraries(t *testing.T) {
	var logged lockedBuffer
	logLibraries(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { log.SetOutput(os.Stderr); log.SetFlags(log.LstdFlags) })
	answered := make(chan struct{})
	address := rawtest.Serve(t, func(conn net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		<-answered
		_, _ = io.WriteString(conn, "<html>504, your request was client_secret=s3cret")
		_, _ = conn.Read(make([]byte, 1))
	})
	transport := &http.Transport{}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	close(answered)
	var text string
	for range 500 {
		if text = logged.String(); text != "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !strings.Contains(text, "level=DEBUG") || !strings.Contains(text, "Unsolicited response") || strings.Contains(text, "s3cret") {
		t.Errorf("logged: %q", text)
	}
}
