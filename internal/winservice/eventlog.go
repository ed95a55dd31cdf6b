package winservice

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"unicode/utf8"
)

// EventLog is the event log of Windows. An event that cannot be written is lost:
// there is no other place to say so.
type EventLog interface {
	Write(level slog.Level, text string)
}

// maxEvent is what one event takes: 31,839 characters (ReportEventW); of some
// characters two are counted for one.
const maxEvent = 15_000

// write is one event. The viewer of events puts something else in the place of a
// percent sign and a digit (ReportEventW), so a space is put between these.
func write(log EventLog, level slog.Level, text string) {
	text = strings.TrimRight(text, "\r\n")
	if len(text) > maxEvent {
		end := maxEvent
		for !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + " …"
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case text[i] == 0: // it would end the text
			b.WriteByte(' ')
		case text[i] == '%' && i+1 < len(text) && '0' <= text[i+1] && text[i+1] <= '9':
			b.WriteString("% ")
		default:
			b.WriteByte(text[i])
		}
	}
	log.Write(level, b.String())
}

// NewLogger writes each record as one event of its level, in the form that
// another handler gives it: new makes that one, from where it is to write to.
func NewLogger(log EventLog, handler func(io.Writer) slog.Handler) *slog.Logger {
	shared := &eventWriter{log: log}
	return slog.New(&eventHandler{handler(&shared.line), shared})
}

// eventWriter is what a handler and all that were derived from it share.
type eventWriter struct {
	log  EventLog
	mu   sync.Mutex
	line bytes.Buffer
}

type eventHandler struct {
	slog.Handler
	to *eventWriter
}

// Handle implements slog.Handler.
func (h *eventHandler) Handle(ctx context.Context, record slog.Record) error {
	h.to.mu.Lock()
	defer h.to.mu.Unlock()
	h.to.line.Reset()
	err := h.Handler.Handle(ctx, record)
	write(h.to.log, record.Level, h.to.line.String())
	return err
}

// WithAttrs implements slog.Handler.
func (h *eventHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &eventHandler{h.Handler.WithAttrs(attrs), h.to}
}

// WithGroup implements slog.Handler.
func (h *eventHandler) WithGroup(name string) slog.Handler {
	return &eventHandler{h.Handler.WithGroup(name), h.to}
}

// ErrorWriter makes an error event of everything that is written at once: what a
// program says before it has a logger.
type ErrorWriter struct{ Log EventLog }

// Write implements io.Writer.
func (w ErrorWriter) Write(p []byte) (int, error) {
	write(w.Log, slog.LevelError, string(p))
	return len(p), nil
}
