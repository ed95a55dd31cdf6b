package simulator

import "time"

// Faults are ways to misbehave, all of which can be combined. The zero value
// is a healthy tenant.
type Faults struct {
	// Status answers list calls with this status instead, with RetryAfter as the
	// header if it is set.
	Status     int
	RetryAfter string
	// Calls limits the faults Status, Torn, NotJSON and Drop to so many calls.
	// 0: until further notice.
	Calls int
	// NoRetryAfter leaves the header out of the answers 429 that the tenant's own
	// limits cause.
	NoRetryAfter bool

	Torn     bool // the body ends in the middle, with status 200
	NotJSON  bool // a web page with status 200
	Drop     bool // the connection breaks before the answer
	DropBody bool // the connection breaks in the middle of the body
	// Delay comes before the answer, Drip is how long the body takes.
	Delay, Drip time.Duration
	// Padding adds so many bytes to the body.
	Padding int
	// Redirect answers 302 to this address.
	Redirect string

	RefuseLe, RefuseLt, RefuseSince, RefuseStatus bool
	// RefuseStatuses lists status values that are no members of the enumeration.
	RefuseStatuses                                   []string
	IgnoreLe /* and lt */, IgnoreSince, IgnoreStatus bool
	SkipCap                                          int // larger $skip is refused
	Unauthorized, Forbidden                          bool

	// OddRows adds rows of every odd shape to each page. Those that have an id
	// count: they are in no Truth, so compare without them.
	OddRows bool

	TokenStatus int  // the token endpoint answers this status
	WrongSecret bool // the token endpoint refuses the secret
	NoRoles     bool // tokens carry no roles
	TokenDelay  time.Duration
}

// Fault sets the present faults.
func (t *Tenant) Fault(f Faults) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.Calls == 0 {
		f.Calls = -1
	}
	t.faults = f
}

// strike returns the faults of this call and counts it.
func (t *Tenant) strike() Faults {
	f := t.faults
	if t.faults.Calls > 0 {
		t.faults.Calls--
	} else if t.faults.Calls == 0 {
		f.Status, f.Torn, f.NotJSON, f.Drop, f.DropBody = 0, false, false, false, false
	}
	return f
}

// ExpireTokens makes all tokens that were given out invalid.
func (t *Tenant) ExpireTokens() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.tokens)
}
