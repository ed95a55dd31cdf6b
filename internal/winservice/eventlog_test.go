package winservice

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

type memoryLog struct {
	mu     sync.Mutex
	events []string
}

func (l *memoryLog) Write(level slog.Level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, level.String()+" "+text)
}

// TestLogger: one record is one event of its level; what is below the level of the
// log is none.
func TestLogger(t *testing.T) {
	var log memoryLog
	logger := NewLogger(&log, func(w io.Writer) slog.Handler {
		return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
	})
	logger.Debug("nothing")
	logger.Info("up", "n", 1)
	logger.With("tenant", "contoso").WithGroup("g").Warn("late", "by", "2%20s")
	logger.Error("down\nfor good")
	want := []string{"INFO level=INFO msg=up n=1", "WARN level=WARN msg=late tenant=contoso g.by=2% 20s", `ERROR level=ERROR msg="down\nfor good"`}
	if !slices.Equal(log.events, want) {
		t.Errorf("got %q\nwant %q", log.events, want)
	}
}

// TestLoggerAtOnce: loggers that were derived from one share its lines.
func TestLoggerAtOnce(t *testing.T) {
	var log memoryLog
	logger := NewLogger(&log, func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) })
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for k := range 100 {
				logger.With("i", i).Info("x", "k", k)
			}
		})
	}
	group.Wait()
	if len(log.events) != 800 {
		t.Fatalf("%d events", len(log.events))
	}
	for _, event := range log.events {
		if strings.Count(event, "\n") > 0 || !strings.HasPrefix(event, "INFO {") || !strings.HasSuffix(event, "}") {
			t.Fatalf("got %q", event)
		}
	}
}

func TestErrorWriter(t *testing.T) {
	var log memoryLog
	_, _ = fmt.Fprintln(ErrorWriter{&log}, "m365_defender_exporter: error:", strings.Repeat("ä", 20_000)+"\x00%1")
	if len(log.events) != 1 {
		t.Fatalf("got %d events", len(log.events))
	}
	got := log.events[0]
	if !strings.HasPrefix(got, "ERROR m365_defender_exporter: error: ä") || !strings.HasSuffix(got, "ä …") || !utf8.ValidString(got) || len(got) > maxEvent+20 {
		t.Errorf("got %d bytes, valid: %v", len(got), utf8.ValidString(got))
	}
	_, _ = fmt.Fprint(ErrorWriter{&log}, "a\x00b 100% %5")
	if got, want := log.events[1], "ERROR a b 100% % 5"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
