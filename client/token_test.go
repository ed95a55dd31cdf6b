package client

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"m365_defender_exporter/internal/listing"
)

// TestLongTokens: one text or one run of blanks that takes all that an answer
// may have is refused before it is held in memory.
func TestLongTokens(t *testing.T) {
	const size = 60 << 20
	for name, filling := range map[string]byte{"text": 'a', "blanks": ' '} {
		t.Run(name, func(t *testing.T) {
			before, after := `{"value":[{"incidentId":1,"incidentName":"`, `"}]}`
			if filling == ' ' {
				before, after = `{"value":[`, `{"incidentId":1}]}`
			}
			c := newTest(t, roundTrip(func(*http.Request) (*http.Response, error) {
				body := io.MultiReader(strings.NewReader(before), io.LimitReader(endless(filling), size), strings.NewReader(after))
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body)}, nil
			}), nil)
			var was, is runtime.MemStats
			runtime.ReadMemStats(&was)
			_, err := c.List(t.Context(), listing.Request{Top: 100})
			runtime.ReadMemStats(&is)
			if e, ok := errors.AsType[*listing.Error](err); !ok || !e.TooLarge {
				t.Errorf("got %v, want an answer that is too large", err)
			}
			if got := (is.TotalAlloc - was.TotalAlloc) >> 20; got > 40 {
				t.Errorf("%d MiB were allocated", got)
			}
		})
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	copy(p, bytes.Repeat([]byte{byte(e)}, len(p)))
	return len(p), nil
}
