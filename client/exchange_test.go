package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/reason"
)

// TestTimeout: one limit holds for the answer and for its body, and the
// caller's end of it all is told from it.
func TestTimeout(t *testing.T) {
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	drip := func(status int) roundTrip {
		return func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: &dripping{ctx: r.Context()}}, nil
		}
	}
	tests := []struct {
		name   string
		via    roundTrip
		status int
		reason reason.Reason
	}{
		{"no answer", hang, 0, reason.Timeout},
		{"a body that drips", drip(200), 200, reason.Timeout},
		{"an error that drips", drip(500), 500, reason.Server},
		{"a body that cannot be closed", func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusForbidden, Body: stuck{strings.NewReader("x")}}, nil
		}, 403, reason.Forbidden},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var call Call
				c := newTest(t, test.via, func(o *Options) {
					o.Timeout = 5 * time.Second
					o.Observe = func(is Call) { call = is }
				})
				began := time.Now()
				_, err := c.List(t.Context(), first)
				if e := failure(t, err); e.Reason != test.reason || e.Status != test.status || test.reason == reason.Timeout && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %+v", e)
				}
				if took := time.Since(began); took != 5*time.Second || call.Duration != took {
					t.Errorf("took %v, told %v", took, call.Duration)
				}
				if test.name == "a body that cannot be closed" {
					time.Sleep(2 * time.Hour) // until it is
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := c.List(ctx, first); !errors.Is(err, context.DeadlineExceeded) && test.status < 300 {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took != 6*time.Second {
					t.Errorf("took %v", took-5*time.Second)
				}
				ctx, stop := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, stop)
				_, err = c.List(ctx, first)
				if e := failure(t, err); test.status < 300 && (!errors.Is(err, context.Canceled) || e.Reason != reason.Other) {
					t.Errorf("got %+v", e)
				}
			})
		})
	}
}

// TestClock: durations are told by the clock that was given.
func TestClock(t *testing.T) {
	var took time.Duration
	now := time.Time{}
	c := newTest(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		now = now.Add(time.Hour)
		return answer(200, `{"value":[]}`)(r)
	}), func(o *Options) {
		o.Now = func() time.Time { return now }
		o.Observe = func(call Call) { took = call.Duration }
	})
	if _, err := c.List(t.Context(), first); err != nil || took != time.Hour {
		t.Errorf("took %v, %v", took, err)
	}
}

// dripping is a body of a byte a second.
type dripping struct{ ctx context.Context }

func (d *dripping) Read(p []byte) (int, error) {
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(time.Second):
		return copy(p, " "), nil
	}
}

func (*dripping) Close() error { return nil }

// stuck is a body whose Close takes an hour.
type stuck struct{ io.Reader }

func (stuck) Close() error { time.Sleep(time.Hour); return nil }
