package app

import (
	"io"
	"log/slog"
	"testing"
	"time"
)

func BenchmarkHistoryDay(b *testing.B) {
	o, err := Parse([]string{"demo-history"}, io.Discard, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	end := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	for range b.N {
		if err := o.history.write(b.Context(), io.Discard, o, end, 24*time.Hour, slog.New(slog.DiscardHandler)); err != nil {
			b.Fatal(err)
		}
	}
}
