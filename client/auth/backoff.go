package auth

import (
	"crypto/sha256"
	"time"

	"m365_defender_exporter/internal/retryafter"
)

// A failure that passes by itself is tried again soon. One that the operator has
// to fix is tried again slowly: a wrong secret sent every few seconds looks like
// an attack.
const (
	firstTransient, maxTransient = time.Second, time.Minute
	firstRefused, maxRefused     = 15 * time.Second, 10 * time.Minute
	// spread is how much longer than its due a wait can be.
	spread = 0.2
)

// failure is what is remembered of failed attempts. Its zero value is none.
type failure struct {
	err    *Error
	digest [sha256.Size]byte // of the credential that failed
	count  int
	until  time.Time
}

// add notes one more failure.
func (f *failure) add(now time.Time, err *Error, digest [sha256.Size]byte, jitter float64) {
	if f.digest != digest || f.err != nil && f.err.transient() != err.transient() {
		f.count = 0
	}
	wait, longest := firstRefused, maxRefused
	if err.transient() {
		wait, longest = firstTransient, maxTransient
	}
	wait = min(wait<<min(f.count, 12), longest)
	wait += time.Duration(spread * jitter * float64(wait))
	f.err, f.digest, f.count = err, digest, f.count+1
	f.until = now.Add(max(wait, min(err.retryAfter, retryafter.Max)))
}

// holds returns the last error as long as another attempt would be too early.
// A credential that has changed is tried at once.
func (f *failure) holds(now time.Time, digest [sha256.Size]byte) error {
	if f.err == nil || f.digest != digest || !now.Before(f.until) {
		return nil
	}
	return f.err
}
