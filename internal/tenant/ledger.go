package tenant

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"m365_defender_exporter/client/quota"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/retryafter"
	"m365_defender_exporter/internal/state"
)

func windows(cfg config.Tenant) []quota.Window {
	w := []quota.Window{{Period: time.Minute, Limit: cfg.QuotaPerMinute}}
	if cfg.QuotaPerHour > 0 {
		w = append(w, quota.Window{Period: time.Hour, Limit: cfg.QuotaPerHour})
	}
	return w
}

// AccountLedger is the ledger of an account, one tenant by one API, as the
// schedule sees it: each grant is saved before it is used, and how long the
// schedule had to wait is told. Its methods may be called concurrently. None
// waits for quota; Take and Throttled wait for the store, and a failure to save
// is counted and logged there.
type AccountLedger struct {
	log *quota.Ledger
	// unsaved has those of the log that could not be saved, and keeps them to what the
	// share leaves: who goes on from what was saved does not know of them. Nil: it
	// leaves nothing.
	unsaved *quota.Ledger
	waited  func(rule string, d time.Duration) // nil: it is not told
	// save keeps the ledger over a crash; nil: nothing does. learned: others have spent
	// what it did not know of, and knows now. An error that matches state.ErrInUse or
	// state.ErrOutOfReach forbids the call, and any other all but a few.
	save func(quota.Log) (learned bool, err error)
	// patience is how long no grant can be saved before that is a failure.
	patience time.Duration
	// logger is told what changes by the server's word; nil: it is not said.
	logger *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	waiting [pass.NumPasses]wait
	// forbidden is since when no grant can be saved, zero if one can; resume is when
	// that is tried again.
	forbidden, resume time.Time
}

func newAccountLedger(cfg config.Tenant) (*AccountLedger, error) {
	log, err := quota.New(quota.Options{Windows: windows(cfg), Share: cfg.QuotaShare})
	if err != nil {
		return nil, err
	}
	unsaved, err := newUnsaved(cfg)
	if err != nil {
		return nil, err
	}
	return &AccountLedger{log: log, unsaved: unsaved, patience: cfg.Timeout, now: time.Now}, nil
}

// newUnsaved returns the ledger of what cannot be saved, nil if nothing is left for that.
func newUnsaved(cfg config.Tenant) (*quota.Ledger, error) {
	rest := 1 - cfg.QuotaShare
	for _, w := range windows(cfg) {
		if float64(w.Limit)*min(rest, cfg.QuotaShare) < 1 {
			return nil, nil // a ledger has one call in each window at least
		}
	}
	return quota.New(quota.Options{Windows: windows(cfg), Share: rest})
}

type wait struct {
	since time.Time
	rule  quota.Rule
}

// Take implements refresh.Ledger. A grant is saved before it is used, so that
// whatever becomes of this process no window is exceeded. What others have spent
// meanwhile is learned by saving it, and then it is decided anew.
func (l *AccountLedger) Take(now time.Time, p pass.Pass) (grant uint64, at time.Time, err error) {
	for range mostDecisions {
		d := l.log.Take(now, p)
		if d.Grant == 0 {
			l.note(now, p, d, false)
			return 0, d.At, nil
		}
		learned, err := l.keep(now)
		if errors.Is(err, state.ErrInUse) || errors.Is(err, state.ErrOutOfReach) || err != nil && l.unsaved == nil {
			l.log.Cancel(d.Grant)
			at, err = l.forbid(err)
			return 0, at, err
		}
		l.allow()
		if err != nil {
			if at := l.takeUnsaved(now, p); at.After(now) {
				l.log.Cancel(d.Grant)
				return 0, at, nil
			}
		}
		if !learned {
			l.note(now, p, d, true)
			return d.Grant, d.At, nil
		}
		l.log.Cancel(d.Grant)
		now = l.now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resume = now.Add(recordPause)
	return 0, l.resume, nil
}

const (
	// mostDecisions bounds how often one call is decided anew.
	mostDecisions = 8
	// ownerPause is how long no call is made after another process was seen to have the
	// ledger, recordPause after it was seen that it cannot be saved. After unsavedPause
	// it is tried again where some calls are made that are not saved, and no more may be.
	ownerPause   = 10 * time.Second
	recordPause  = time.Second
	unsavedPause = 10 * time.Second
)

// forbid notes that a grant was not saved. Its error is the cause once that has
// lasted for too long.
func (l *AccountLedger) forbid(cause error) (until time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.resume = now.Add(recordPause)
	if errors.Is(cause, state.ErrInUse) {
		l.resume = now.Add(ownerPause)
	}
	if l.forbidden.IsZero() {
		l.forbidden = now
	}
	if now.Sub(l.forbidden) >= l.patience {
		err = cause
	}
	return l.resume, err
}

// takeUnsaved counts a call that is not saved, if it may be made now.
func (l *AccountLedger) takeUnsaved(now time.Time, p pass.Pass) (at time.Time) {
	d := l.unsaved.Take(now, p)
	if d.Grant == 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.resume = now.Add(min(d.At.Sub(now), unsavedPause))
		return l.resume
	}
	l.unsaved.Settle(d.Grant, now.Add(l.patience)) // no call lasts longer
	return now
}

func (l *AccountLedger) allow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forbidden, l.resume = time.Time{}, time.Time{}
}

// Cancel implements refresh.Ledger.
func (l *AccountLedger) Cancel(grant uint64) { l.log.Cancel(grant) }

// Settle implements refresh.Ledger.
func (l *AccountLedger) Settle(grant uint64, now time.Time) { l.log.Settle(grant, now) }

// Succeeded implements refresh.Ledger.
func (l *AccountLedger) Succeeded() { l.log.Succeeded() }

// Throttled implements refresh.Ledger.
func (l *AccountLedger) Throttled(now time.Time, retryAfter, message string) {
	out := l.log.Refused(now, quota.Refusal{RetryAfter: retryAfter, Message: message})
	_, _ = l.keep(now) // the next grant finds out
	l.say(out)
}

// RetryAfter implements refresh.Ledger.
func (l *AccountLedger) RetryAfter(now time.Time, header string) time.Time {
	wait, _ := retryafter.Parse(header, now)
	if wait == 0 {
		return time.Time{}
	}
	return now.Add(min(wait, retryafter.Max))
}

// say logs what the ledger tells once.
func (l *AccountLedger) say(out quota.Outcome) {
	if l.logger == nil {
		return
	}
	if learned := out.Learned; learned.Limit > 0 {
		l.logger.Warn("The API names a limit that is lower than the setting; it holds for 24 hours, or until a restart or reload with another setting",
			"calls", learned.Limit, "window", learned.Rule().String(), "until", learned.Until)
	}
	if out.Asked > 0 {
		l.logger.Warn("The API asks for a longer wait than is believed", "asked", out.Asked, "waiting", retryafter.Max)
	}
}

// keep saves the ledger, and learns what others have spent.
func (l *AccountLedger) keep(now time.Time) (learned bool, err error) {
	if l.save == nil {
		return false, nil
	}
	return l.save(l.log.Log(now))
}

// Ready implements refresh.Ledger.
func (l *AccountLedger) Ready(now time.Time, p pass.Pass) time.Time {
	l.mu.Lock()
	resume := l.resume
	l.mu.Unlock()
	at := l.log.Peek(now, p).At
	if resume.After(at) {
		return resume
	}
	return at
}

// binds is the rule that a call of the pass has to wait for, and until when.
func (l *AccountLedger) binds(now time.Time, p pass.Pass) (rule string, until time.Time) {
	if d := l.log.Peek(now, p); d.At.After(now) {
		return d.Rule.String(), d.At
	}
	return "", time.Time{}
}

// Waits implements refresh.Ledger.
func (l *AccountLedger) Waits(now time.Time, p pass.Pass) {
	l.note(now, p, l.log.Peek(now, p), false)
}

// Pace implements refresh.Ledger. A tenth of each window is left for sweeps, which
// otherwise would not get on where deltas need all that there is.
func (l *AccountLedger) Pace(now time.Time, calls int) (pace time.Duration) {
	for _, u := range l.log.Usage(now) {
		pace = max(pace, 10*time.Duration(calls)*u.Window.Period/time.Duration(9*u.Effective))
	}
	return pace
}

// Reserve implements refresh.Ledger.
func (l *AccountLedger) Reserve(now time.Time, calls int, interval time.Duration) {
	usage := l.log.Usage(now)
	reserve := make([]int, len(usage))
	for i, u := range usage {
		reserve[i] = int((time.Duration(calls)*u.Window.Period + interval - 1) / interval)
	}
	l.log.SetReserve(reserve)
	if l.unsaved != nil {
		l.unsaved.SetReserve(reserve)
	}
}

// note keeps the time from the first time a pass had to wait to the grant.
func (l *AccountLedger) note(now time.Time, p pass.Pass, d quota.Decision, granted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.waiting[p]
	switch {
	case granted && w.rule != quota.None:
		if l.waited != nil {
			l.waited(w.rule.String(), now.Sub(w.since))
		}
		*w = wait{}
	case !granted && d.At.After(now) && w.rule == quota.None:
		*w = wait{now, d.Rule}
	}
}

// Usage is what there is of each window, and what of it is spent.
func (l *AccountLedger) Usage(now time.Time) []quota.Usage { return l.log.Usage(now) }

// Idle tells that no window sees a call and the server has not told us to wait:
// forgetting the ledger would change nothing.
func (l *AccountLedger) Idle(now time.Time) bool {
	if l.log.BlockedUntil().After(now) {
		return false
	}
	for _, u := range l.log.Usage(now) {
		if u.Used > 0 {
			return false
		}
	}
	return true
}

// Continue goes on from where another ledger of the same account has ended,
// which must no longer be in use: its calls count here, too.
func (l *AccountLedger) Continue(before *AccountLedger, now time.Time) {
	l.log.Restore(now, before.log.Final(now))
}
