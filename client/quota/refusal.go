package quota

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Refusal is an answer that asks to slow down.
type Refusal struct {
	// Status is the HTTP status; only 429 says that a limit was exceeded.
	Status int
	// RetryAfter is the raw header, empty if there was none.
	RetryAfter string
	// Message is the text of the error in the body.
	Message string
}

const (
	tooManyRequests = 429
	firstBlock      = time.Minute
	longestBlock    = 15 * time.Minute
	halveEvery      = 30 * time.Second
	regainEvery     = 5 * time.Minute
	regainShare     = 0.05
	leastShare      = 0.1
)

// backoff is what refusals have taught.
type backoff struct {
	until     time.Time
	refusals  int // in a row, without a prescribed time
	factor    float64
	halvedAt  time.Time
	refusedAt time.Time // since when quota is regained
}

// Refused takes a refusal into account, for everybody who shares the ledger,
// and returns until when nobody gets a grant.
func (l *Ledger) Refused(now time.Time, r Refusal) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recover(now)
	b := &l.backoff
	wait, prescribed := ParseRetryAfter(r.RetryAfter, now)
	if r.Status != tooManyRequests {
		if prescribed {
			b.until = later(b.until, now.Add(wait))
		}
		return b.until
	}
	if !l.full(now) && now.Sub(b.halvedAt) >= halveEvery {
		// We kept our share, so somebody else has taken from it.
		b.factor = max(b.factor/2, min(leastShare/l.share, b.factor))
		b.halvedAt = now
	}
	b.refusedAt = now
	if w, ok := ParseLimit(r.Message); ok {
		l.learn(w)
	}
	switch {
	case prescribed:
		b.until = later(b.until, now.Add(wait))
	case !b.until.After(now):
		// Answers that were under way when the first refusal came do not add to it.
		d := min(firstBlock<<min(b.refusals, 10), longestBlock)
		b.refusals++
		b.until = now.Add(d + time.Duration(l.jitter()*float64(d)/10))
	}
	return b.until
}

// Succeeded tells that a call was answered: the next unprescribed wait is a
// short one again.
func (l *Ledger) Succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.backoff.refusals = 0
}

// BlockedUntil is until when the API told us to wait, zero if it never did.
func (l *Ledger) BlockedUntil() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.backoff.until
}

// full tells whether our own calls have used up a window.
func (l *Ledger) full(now time.Time) bool {
	for _, w := range l.windows {
		n := l.count(now, w.Period)
		if n[Delta]+n[First]+n[Sweep] >= l.effective(w) {
			return true
		}
	}
	return false
}

// learn takes over a limit that the API has named. It is never raised.
func (l *Ledger) learn(named Window) {
	l.learned = append(slices.DeleteFunc(l.learned, func(w Window) bool { return w.Period == named.Period }), named)
	for i := range l.windows {
		if l.windows[i].Period == named.Period {
			l.windows[i].Limit = min(l.windows[i].Limit, named.Limit)
			return
		}
	}
	l.windows = append(l.windows, named)
}

// recover regains share for the time that passed without a refusal.
func (l *Ledger) recover(now time.Time) {
	b := &l.backoff
	for b.factor < 1 && now.Sub(b.refusedAt) >= regainEvery {
		b.refusedAt = b.refusedAt.Add(regainEvery)
		b.factor = min(1, b.factor+regainShare/l.share)
	}
}

// longestRetryAfter bounds what a header may ask for: more is a mistake.
const longestRetryAfter = 24 * time.Hour

// ParseRetryAfter reads a Retry-After header: seconds, or an HTTP date. A
// negative number and anything else is refused; a date that has passed means
// now; more than a day counts as a day.
func ParseRetryAfter(header string, now time.Time) (time.Duration, bool) {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseFloat(header, 64); err == nil {
		if !(seconds >= 0) {
			return 0, false
		}
		if seconds >= longestRetryAfter.Seconds() {
			return longestRetryAfter, true
		}
		return time.Duration(math.Ceil(seconds*1000)) * time.Millisecond, true
	}
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC850, time.ANSIC} {
		if at, err := time.Parse(layout, header); err == nil {
			return min(max(at.Sub(now), 0), longestRetryAfter), true
		}
	}
	return 0, false
}

// limitText as observed: "API calls quota exceeded! maximum allowed 45 per
// 00:01:00".
var limitText = regexp.MustCompile(`(?i)maximum\s+allowed\s+(\d{1,9})\s+per\s+(\d{1,4}):(\d{2}):(\d{2})`)

// ParseLimit finds the limit that the text of a refusal names.
func ParseLimit(message string) (Window, bool) {
	m := limitText.FindStringSubmatch(message)
	if m == nil {
		return Window{}, false
	}
	n := make([]int, 4)
	for i, digits := range m[1:] {
		n[i], _ = strconv.Atoi(strings.TrimSpace(digits)) // digits only, few of them
	}
	period := time.Duration(n[1])*time.Hour + time.Duration(n[2])*time.Minute + time.Duration(n[3])*time.Second
	if n[0] < 1 || period <= 0 || period > longestRetryAfter {
		return Window{}, false
	}
	return Window{period, n[0]}, true
}
