package client

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// The alerts of a page are its heavy part, and of some tenants the server
// cannot deliver them: every page fails until it is asked for without. Then
// smaller pages are tried, then none with alerts; and now and then, at the price
// of one call, whether it is over.

// shape is what a page is asked to be.
type shape struct {
	top    int
	alerts bool
	// trial: it is not known to work, and one attempt tells.
	trial bool
}

// smaller are the sizes that are tried after a full page with alerts failed.
var smaller = []int{25, 10}

const (
	firstTrial   = time.Minute
	longestTrial = time.Hour
)

// expander remembers in which shape pages can be had.
type expander struct {
	logger *slog.Logger

	mu      sync.Mutex
	top     int  // size of pages with alerts
	off     bool // none can be had
	wait    time.Duration
	retryAt time.Time
	changed time.Time // or the last trial failed
}

// delivers tells whether pages are had with their alerts at present.
func (x *expander) delivers() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.off
}

// plan is the shape of the next page.
func (x *expander) plan(now time.Time) shape {
	x.mu.Lock()
	defer x.mu.Unlock()
	trial := (x.off || x.top < graphPage) && !now.Before(x.retryAt)
	switch {
	case x.off && trial:
		return shape{smaller[len(smaller)-1], true, true}
	case x.off:
		return shape{top: graphPage}
	case trial:
		return shape{graphPage, true, true}
	}
	return shape{top: x.top, alerts: true}
}

// settle remembers the shape in which a page with alerts was had, or, with a
// size of 0, that none could be.
func (x *expander) settle(top int, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	was, off := x.top, x.off
	if x.off = top == 0; !x.off {
		x.top = top
	}
	switch {
	case x.off && !off:
		x.postpone(now)
		x.logger.Warn("The server cannot deliver alerts, reading incidents without them")
	case !x.off && top < was && !off:
		x.postpone(now)
		x.logger.Warn("The server cannot deliver full pages with alerts, reading smaller ones", "top", top)
	case !x.off && (off || top > was):
		x.changed, x.retryAt = now, now.Add(firstTrial)
		x.logger.Info("The server delivers alerts again", "top", top)
	}
}

// postpone sets the next trial: a minute from now, or twice as long as the last
// time if that was within the hour.
func (x *expander) postpone(now time.Time) {
	if now.Sub(x.changed) > longestTrial {
		x.wait = 0
	}
	x.wait = min(max(2*x.wait, firstTrial), longestTrial)
	x.retryAt = now.Add(x.wait)
}

// failed notes that a trial did.
func (x *expander) failed(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changed = now
	x.postpone(now)
}

// heavy tells of a failure that may be due to the weight of the answer.
func heavy(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status >= 500 || e.FailureReason() == "timeout" || errors.Is(e.Err, errTooLarge))
}

// refused tells of an answer 400.
func refused(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusBadRequest
}

// fetch reads a page in the best shape in which it can be had.
func (g *Graph) fetch(ctx context.Context, s *stretch) (rawPage, shape, error) {
	as := g.expander.plan(time.Now())
	if s.c.Link != "" {
		// The shape is part of the link.
		raw, err := g.list(ctx, s, shape{})
		return raw, as, err
	}
	if s.noAlerts {
		as = shape{top: graphPage}
	}
	raw, err := g.list(ctx, s, as)
	if as.trial && (heavy(err) || refused(err)) {
		g.expander.failed(time.Now())
		as = g.expander.plan(time.Now())
		raw, err = g.list(ctx, s, as)
	}
	switch {
	case err == nil && s.noAlerts:
		g.expander.settle(0, time.Now())
		return raw, as, nil
	case err == nil && as.alerts:
		g.expander.settle(as.top, time.Now())
		return raw, as, nil
	case !as.alerts || !heavy(err):
		return raw, as, err
	}
	// Is it the alerts?
	plain := shape{top: graphPage}
	without, failed := g.list(ctx, s, plain)
	if failed != nil {
		// No: nothing works.
		return raw, as, err
	}
	for _, top := range smaller {
		if top >= as.top {
			continue
		}
		as = shape{top, true, true}
		if raw, err = g.list(ctx, s, as); err == nil {
			g.expander.settle(top, time.Now())
			return raw, as, nil
		}
	}
	g.expander.settle(0, time.Now())
	return without, plain, nil
}
