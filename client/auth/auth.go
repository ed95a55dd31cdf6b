// Package auth turns credentials into access tokens, as sources of
// golang.org/x/oauth2: a client secret, a certificate, a federated token of a
// workload, or the managed identity of the machine.
//
// Whatever a credential is made of is read again for every token, so that a
// rotated file needs no restart. No secret, assertion or token is ever part of
// an error or of a printed value.
package auth

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"m365_defender_exporter/internal/scrub"
)

// Options are the settings of a [Source].
type Options struct {
	// TokenURL is where the tenant's tokens are issued. A managed identity has
	// its own place and needs none.
	TokenURL string
	// ClientID of the application. A managed identity without one is the
	// machine's own (system assigned).
	ClientID string
	// Scope is the API's address and /.default.
	Scope string
	// SecretExpires is when a client secret ends, if somebody has said so.
	SecretExpires time.Time
	// HTTP makes the requests, of which only the transport and the timeout are
	// used (0: 30 s): no redirect is followed, whatever it says, and no cookie is
	// kept. nil: the standard transport.
	HTTP *http.Client
	// Observe is told of each attempt. It must not ask the Source for a token.
	Observe func(Attempt)
	// Jitter returns a number in [0, 1) that spreads attempts after a failure;
	// nil: math/rand/v2.
	Jitter func() float64
	// Now is the clock; nil: time.Now.
	Now func() time.Time

	// timeout is that of HTTP. It bounds each attempt as a whole.
	timeout time.Duration
	// scrubber learns of every secret before it is sent, and of every token.
	scrubber *scrub.Scrubber
}

// Attempt is the account of one attempt to get a token.
type Attempt struct {
	Took time.Duration
	Err  error
	// CredentialExpiry is when the credential itself ends, zero if that is not
	// known.
	CredentialExpiry time.Time
}

// Source gets tokens with one credential and keeps each until shortly before
// its end. It is an oauth2.TokenSource, safe for concurrent use.
//
// A failure is answered from memory until the next attempt is due, which is
// after seconds to minutes (see backoff.go), or at once when the credential
// has changed. As long as the token before still lasts, it is used.
type Source struct {
	opts Options
	kind string
	load func() (*loaded, error)
	// ctx is of all requests: oauth2.TokenSource has no other place for it.
	ctx  context.Context
	stop context.CancelFunc

	requesting chan struct{} // holds one while a token is asked for: one request at a time
	failure    failure

	// mu is never held for long: a scrape asks when the token ends.
	mu               sync.Mutex
	token            *oauth2.Token
	renewAt          time.Time         // zero: never
	renewed          time.Time         // when Renew last dropped a token
	refused          bool              // Renew has spared the token since
	digest           [sha256.Size]byte // of the credential that the token was asked for with
	held             time.Time         // see Held
	credentialExpiry time.Time
	note             string
	claims           Claims // of the last token
	readable         bool   // it has any
}

// loaded is a credential as it was read for one token.
type loaded struct {
	// digest changes when the credential does.
	digest [sha256.Size]byte
	// request asks for a token. It also returns when the token should be
	// replaced, zero if the answer does not tell.
	request func(context.Context) (*oauth2.Token, time.Time, error)
	// expires is when the credential ends, zero if that is not known.
	expires time.Time
	// note describes the credential to a person.
	note string
}

const (
	// early is how long before its end a token is replaced.
	early = 5 * time.Minute
	// shortest is how long a token is used at least, whatever its end is said to
	// be: a clock that is wrong must not make each call ask for one.
	shortest = 15 * time.Second
	// maxToken bounds a token, in bytes: no server takes a larger header.
	maxToken = 32 << 10
	// renewEvery bounds how often a token is dropped that the API refuses: a
	// permission that is missing is missing in the next token, too. Not that of a
	// credential which was changed meanwhile.
	renewEvery = 5 * time.Minute
)

func newSource(kind string, opts Options, load func() (*loaded, error)) *Source {
	s := &Source{opts: opts, kind: kind, load: load, requesting: make(chan struct{}, 1)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Close ends the request that is being made, if one is, and all later ones
// before they are made. It does not wait for it, and may be called twice.
func (s *Source) Close() { s.stop() }

func (o Options) withDefaults() Options {
	if o.HTTP == nil {
		o.HTTP = new(http.Client)
	}
	if o.timeout = o.HTTP.Timeout; o.timeout <= 0 {
		o.timeout = 30 * time.Second
	}
	o.HTTP = guarded(o.HTTP)
	if o.Observe == nil {
		o.Observe = func(Attempt) {}
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.scrubber = new(scrub.Scrubber)
	return o
}

// Scrubber knows the secrets and tokens of this source, the present ones and the
// last few: whatever an API says that was called with them goes through it.
func (s *Source) Scrubber() *scrub.Scrubber { return s.opts.scrubber }

// Token implements oauth2.TokenSource. Its errors are of type *[Error]. It may
// be called at any time from anywhere, such as before each call of the API:
//
//   - with a token that is not due it takes no time;
//   - otherwise it makes one request, which ends within the time limit of
//     Options.HTTP, or none and fails at once while it is too early to try again;
//   - meanwhile other callers get the token before, as long as that lasts, or
//     wait for the same request.
func (s *Source) Token() (*oauth2.Token, error) {
	if token := s.fresh(s.opts.Now()); token != nil {
		return token, nil
	}
	select {
	case s.requesting <- struct{}{}:
	default:
		if token, _ := lasting(s.present(), s.opts.Now(), nil); token != nil {
			return token, nil
		}
		s.requesting <- struct{}{}
	}
	defer func() { <-s.requesting }()
	began := s.opts.Now()
	if token := s.fresh(began); token != nil {
		return token, nil
	}
	token := s.present()
	p, err := s.load()
	if s.spares(began, p) {
		return token, nil
	}
	if err == nil {
		s.learn(p)
		if held := s.failure.holds(began, p.digest); held != nil {
			return lasting(token, began, held)
		}
	}
	fresh, refresh, err := s.attempt(p, err)
	if err == nil || s.ctx.Err() == nil { // a request that Close has ended has not failed
		s.opts.Observe(Attempt{Took: s.opts.Now().Sub(began), Err: err, CredentialExpiry: s.CredentialExpiry()})
	}
	if err != nil {
		return lasting(token, began, err)
	}
	s.failure = failure{}
	s.keep(fresh, p.digest, began, refresh)
	return fresh, nil
}

func (s *Source) present() *oauth2.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// fresh is the present token, nil if it is due to be replaced.
func (s *Source) fresh(now time.Time) *oauth2.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.refused && s.lasts(now) {
		return s.token
	}
	return nil
}

// lasts tells that the token is not due. It is called with the lock held.
func (s *Source) lasts(now time.Time) bool {
	return s.token != nil && (s.renewAt.IsZero() || now.Before(s.renewAt))
}

// spares tells that a token that the API refuses goes on being used: there was another
// a moment ago, and the credential, nil if it cannot be read, is the same still.
func (s *Source) spares(now time.Time, p *loaded) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := s.refused
	s.refused = false
	return refused && s.lasts(now) && (p == nil || p.digest == s.digest)
}

func (s *Source) learn(p *loaded) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credentialExpiry, s.note = p.expires, s.opts.scrubber.Text(p.note)
}

func (s *Source) keep(token *oauth2.Token, digest [sha256.Size]byte, issued, refresh time.Time) {
	claims, readable := ParseClaims(token.AccessToken)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims, s.readable = claims, readable
	s.token, s.digest, s.renewAt, s.held = token, digest, renewal(token, issued), time.Time{}
	s.refused = false
	if refresh.After(issued) && refresh.Before(s.renewAt) {
		s.renewAt = refresh
		if soonest := issued.Add(shortest); refresh.Before(soonest) {
			s.renewAt = soonest
		}
	}
}

// attempt makes one request with a credential, if that could be loaded.
func (s *Source) attempt(p *loaded, unloaded error) (*oauth2.Token, time.Time, error) {
	if unloaded != nil {
		return nil, time.Time{}, local(unloaded)
	}
	token, refresh, err := p.request(s.ctx)
	if err == nil {
		if err = usable(token.AccessToken); err == nil {
			s.opts.scrubber.Secret("token", token.AccessToken)
			// There is no other kind. What the answer says it is would go out with each call.
			token.TokenType = "Bearer"
			return token, refresh, nil
		}
	}
	now := s.opts.Now()
	e := explain(err, s.opts.scrubber, now)
	s.failure.add(now, e, p.digest, s.opts.Jitter())
	s.hold(s.failure.until)
	return nil, time.Time{}, e
}

func (s *Source) hold(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = until
}

// usable refuses what no header can carry.
func usable(token string) error {
	if len(token) > maxToken {
		return errNoToken
	}
	for i := range len(token) {
		if token[i] < ' ' || token[i] > '~' {
			return errNoToken
		}
	}
	return nil
}

// lasting returns the token that is there as long as it lasts, else the error.
func lasting(token *oauth2.Token, now time.Time, err error) (*oauth2.Token, error) {
	if token != nil && now.Before(token.Expiry.Add(-10*time.Second)) {
		return token, nil
	}
	return nil, err
}

// renewal leaves some time for the call. A token that lives hardly longer
// than that is used for half of its life.
func renewal(t *oauth2.Token, issued time.Time) time.Time {
	if t.Expiry.IsZero() {
		return time.Time{}
	}
	margin := early
	if life := t.Expiry.Sub(issued); life < 2*early {
		margin = life / 2
	}
	at := t.Expiry.Add(-margin)
	if at.Before(issued.Add(shortest)) {
		return issued.Add(shortest)
	}
	return at
}

// Renew drops the token, because the API has refused it, so that the next call
// of Token gets another: at most every five minutes, or if it finds that the
// credential has changed. It makes no request, does not wait, and may be called at
// any time from anywhere.
func (s *Source) Renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opts.Now()
	if s.token == nil || !s.renewed.IsZero() && now.Sub(s.renewed) < renewEvery {
		s.refused = s.token != nil
		return
	}
	s.token, s.renewed = nil, now
}

// Expiry is when the present token ends, zero if there is none. Like all that
// follows it makes no request and does not wait.
func (s *Source) Expiry() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		return time.Time{}
	}
	return s.token.Expiry
}

// Roles are those that the last token shows; ok is false if it cannot be looked
// into, or there was none yet. They are fit for comparison, not to be trusted.
func (s *Source) Roles() (roles []string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims.Roles, s.readable
}

// CredentialExpiry is when the credential itself ends, as far as it is known, from
// the first request for a token on: a certificate says so itself, of a secret the
// options may.
func (s *Source) CredentialExpiry() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.credentialExpiry
}

// Held is until when no token is asked for because the last request for one has
// failed, unless the credential changes; zero if it has not.
func (s *Source) Held() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// Describe tells a person what the credential is, such as
// "certificate CN=exporter".
func (s *Source) Describe() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.note == "" {
		return s.kind
	}
	return s.kind + " " + s.note
}

// String tells the kind of the credential and nothing else.
func (s *Source) String() string { return "auth.Source(" + s.kind + ")" }

// GoString is String.
func (s *Source) GoString() string { return s.String() }
