package state

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"m365_defender_exporter/internal/rawtest"
)

// hostile is a store whose engine says whatever it likes after the first command.
func hostile(t *testing.T, say func(net.Conn, string)) (store Store, logged *bytes.Buffer) {
	t.Helper()
	address := rawtest.Serve(t, func(conn net.Conn) {
		command := make([]byte, 4096)
		n, _ := conn.Read(command)
		say(conn, string(command[:n]))
	})
	logged = new(bytes.Buffer)
	store, err := New("redis://"+address, Options{
		Logger:   slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Password: func() (string, error) { return "pass~word", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store, logged
}

// TestEngineThatRepeats: an engine, or what answers in its place, quotes the command that it
// does not know, and with it the password.
func TestEngineThatRepeats(t *testing.T) {
	store, logged := hostile(t, func(conn net.Conn, command string) {
		for range 20 {
			_, _ = fmt.Fprintf(conn, "-ERR unknown command %q\r\n", command)
		}
	})
	_, _, err := store.Peek(Key{})
	if !errors.Is(err, ErrOutOfReach) || strings.Contains(err.Error(), "pass~word") || !strings.Contains(err.Error(), "unknown command") {
		t.Errorf("got %v", err)
	}
	if strings.Contains(logged.String(), "pass~word") {
		t.Errorf("logged:\n%s", logged)
	}
}

// TestEngineWithoutEnd: a line without an end is not read to its end.
func TestEngineWithoutEnd(t *testing.T) {
	sent := make(chan int64, 100)
	store, _ := hostile(t, func(conn net.Conn, _ string) {
		line, n := bytes.Repeat([]byte("x"), 1<<20), int64(0)
		for range 1 << 10 {
			written, err := conn.Write(line)
			n += int64(written)
			if err != nil {
				break
			}
		}
		sent <- n
	})
	if _, _, err := store.Peek(Key{}); !errors.Is(err, ErrOutOfReach) {
		t.Errorf("got %v", err)
	}
	if n := <-sent; n > 2*maxAnswer {
		t.Errorf("%d bytes were read", n)
	}
}
