package main

import (
	"log/slog"
	"sync"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/config"
)

func windows(cfg config.Tenant) []quota.Window {
	w := []quota.Window{{Period: time.Minute, Limit: cfg.QuotaPerMinute}}
	if cfg.QuotaPerHour > 0 {
		w = append(w, quota.Window{Period: time.Hour, Limit: cfg.QuotaPerHour})
	}
	return w
}

func windowName(period time.Duration) string {
	if period <= time.Minute {
		return "minute"
	}
	return "hour"
}

// limiter is the ledger as the schedule sees it. It also tells how long that had
// to wait for it.
type limiter struct {
	ledger *quota.Ledger
	waited func(reason string, d time.Duration)
	// save keeps the ledger over a crash; nil: nothing does.
	save func(quota.Log)
	// logger is told what changes by the server's word; nil: nobody is.
	logger *slog.Logger

	mu      sync.Mutex
	waiting [refresh.NumPasses]wait
}

type wait struct {
	since  time.Time
	reason string
}

// Take implements refresh.Ledger. A grant is saved before it is used, so that
// whatever becomes of this process no window is exceeded.
func (l *limiter) Take(now time.Time, pass refresh.Pass) (uint64, time.Time) {
	d := l.ledger.Take(now, quota.Priority(pass))
	l.note(now, pass, d, d.Grant != 0)
	if d.Grant != 0 {
		l.keep(now)
	}
	return uint64(d.Grant), d.At
}

// Settle implements refresh.Ledger.
func (l *limiter) Settle(id uint64, now time.Time) { l.ledger.Settle(quota.Grant(id), now) }

// Succeeded implements refresh.Ledger.
func (l *limiter) Succeeded() { l.ledger.Succeeded() }

// Throttled implements refresh.Ledger.
func (l *limiter) Throttled(now time.Time, status int, retryAfter, message string) {
	out := l.ledger.Refused(now, quota.Refusal{Status: status, RetryAfter: retryAfter, Message: message})
	l.keep(now)
	l.say(out)
}

// RetryAfter implements refresh.Ledger.
func (l *limiter) RetryAfter(now time.Time, header string) time.Time {
	wait, ok := quota.ParseRetryAfter(header, now)
	if !ok || wait == 0 {
		return time.Time{}
	}
	return now.Add(wait)
}

// say logs what the ledger tells once.
func (l *limiter) say(out quota.Outcome) {
	if l.logger == nil {
		return
	}
	if learned := out.Learned; learned.Limit > 0 {
		l.logger.Warn("The API names a limit that is lower than the setting; it holds for 24 hours, or until a restart or reload with another setting",
			"calls", learned.Limit, "window", windowName(learned.Period), "until", learned.Until)
	}
	if out.Asked > 0 {
		l.logger.Warn("The API asks for a longer wait than is believed", "asked", out.Asked, "waiting", quota.MaxRetryAfter)
	}
}

func (l *limiter) keep(now time.Time) {
	if l.save != nil {
		l.save(l.ledger.Log(now))
	}
}

// Ready implements refresh.Ledger.
func (l *limiter) Ready(now time.Time, pass refresh.Pass) time.Time {
	return l.ledger.Peek(now, quota.Priority(pass)).At
}

// Waits implements refresh.Ledger.
func (l *limiter) Waits(now time.Time, pass refresh.Pass) {
	l.note(now, pass, l.ledger.Peek(now, quota.Priority(pass)), false)
}

// Pace implements refresh.Ledger.
func (l *limiter) Pace(now time.Time, calls int) (pace time.Duration) {
	for _, u := range l.ledger.Usage(now) {
		pace = max(pace, time.Duration(calls)*u.Window.Period/time.Duration(u.Effective))
	}
	return pace
}

// Reserve implements refresh.Ledger.
func (l *limiter) Reserve(now time.Time, calls int, interval time.Duration) {
	usage := l.ledger.Usage(now)
	reserve := make([]int, len(usage))
	for i, u := range usage {
		reserve[i] = int((time.Duration(calls)*u.Window.Period + interval - 1) / interval)
	}
	l.ledger.SetReserve(reserve)
}

// note keeps the time from the first time a pass was told to wait to the grant.
func (l *limiter) note(now time.Time, pass refresh.Pass, d quota.Decision, granted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.waiting[pass]
	switch {
	case granted && w.reason != "":
		l.waited(w.reason, now.Sub(w.since))
		*w = wait{}
	case !granted && d.At.After(now) && w.reason == "":
		*w = wait{now, d.Reason.String()}
	}
}
