// Package service is a tenant as Microsoft serves it when all is well: its
// incidents and their life behind the native API, that of Microsoft Graph and
// the token endpoint, metered and throttled. A demo needs no more; how it can
// misbehave is for its hooks.
package service

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"m365_defender_exporter/internal/simulator/defender"
	"m365_defender_exporter/internal/simulator/entra"
	"m365_defender_exporter/internal/simulator/graph"
	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
	"m365_defender_exporter/internal/simulator/wire"
)

// The credentials that a tenant accepts unless its Options say otherwise, the
// application role that its tokens carry, and the one that Graph asks for, see
// [Service.SetRoles].
const (
	DefaultTenantID     = "3f6d2a10-5b1e-4c7a-9a44-0d51c0ffee01"
	DefaultClientID     = "8a1b7c52-90de-4f3b-b1c6-0d51c0ffee02"
	DefaultClientSecret = "simulated-secret-opens-nothing"
	DefaultRole         = defender.Role
	DefaultGraphRole    = graph.Role
)

// Options describe a tenant. The zero value is an empty, resting tenant on the
// wall clock with the real API's limits.
type Options struct {
	// These are as in [life.Options].
	Seed      uint64
	Incidents int
	History   time.Duration
	Now       func() time.Time
	Skew      time.Duration
	Mix       life.Mix
	Alerts    int
	Light     bool
	Bare      bool
	Rates     life.Rates
	Daily     float64

	// Limits of the list call and GetLimits of the call by id. Nil: what is
	// documented, 50 a minute and 1,500 an hour, and 100 a minute and 1,500 an
	// hour. Empty but not nil: none.
	Limits, GetLimits []odata.Limit
	// GraphLimits are those of all calls of Graph together. Nil: 150 a minute.
	GraphLimits []odata.Limit

	// TenantID, ClientID and ClientSecret are what the token endpoint accepts;
	// empty: the defaults above.
	TenantID, ClientID, ClientSecret string
	// TokenLifetime, 0: an hour.
	TokenLifetime time.Duration
	// NoRoles issues tokens without application roles, as happens when admin
	// consent is missing: the token endpoint is content, the API answers 403.
	NoRoles bool
	// Trouble is what is in the way of the calls at an instant; nil: nothing ever is.
	Trouble func(now time.Time) Trouble
}

// Service is a tenant and what serves it. All methods may be called
// concurrently; the fields are used within [life.Tenant.Do].
type Service struct {
	*life.Tenant
	Options   Options
	Incidents odata.Incidents
	Entra     entra.Endpoint
	Hooks     Hooks
	Account   Meter
	// Identity are endpoints that issue tokens to the machine, by path.
	Identity map[string]func(c *wire.Call, now time.Time) *wire.Reply

	defender, graph  *odata.Face
	list, get, calls window // of the native list, its calls by id, Graph
}

// Hooks are where the service can be made to misbehave.
type Hooks struct {
	// Call answers a call of an API, by next where it is answered as usual.
	// Limits are those of the operation.
	Call func(x *odata.Exchange, operation string, limits []odata.Limit, next func())
	// Throttle answers a call that is over a limit, for so long.
	Throttle func(x *odata.Exchange, over odata.Limit, wait time.Duration)
	// Token answers a request for a token, of the machine's identity, too.
	Token func(c *wire.Call, now time.Time) *wire.Reply
	// Answered may change what is sent.
	Answered func(rep *wire.Reply, now time.Time)
}

// New makes a tenant with its backlog.
func New(opts Options) *Service {
	if opts.Limits == nil {
		opts.Limits = []odata.Limit{{Period: time.Minute, Calls: 50}, {Period: time.Hour, Calls: 1500}}
	}
	if opts.GetLimits == nil {
		opts.GetLimits = []odata.Limit{{Period: time.Minute, Calls: 100}, {Period: time.Hour, Calls: 1500}}
	}
	if opts.GraphLimits == nil {
		opts.GraphLimits = []odata.Limit{{Period: time.Minute, Calls: 150}}
	}
	opts.Limits, opts.GetLimits = slices.Clone(opts.Limits), slices.Clone(opts.GetLimits)
	opts.TenantID = cmp.Or(opts.TenantID, DefaultTenantID)
	s := &Service{
		Tenant: life.New(life.Options{
			Seed: opts.Seed, Incidents: opts.Incidents, History: opts.History, Now: opts.Now, Skew: opts.Skew,
			Mix: opts.Mix, Alerts: opts.Alerts, Light: opts.Light, Bare: opts.Bare, Rates: opts.Rates, Daily: opts.Daily,
		}),
		defender: defender.Face(), graph: graph.Face(opts.TenantID), Options: opts,
	}
	// Which calls a fault hits must not change what the tenant's life brings.
	s.Incidents = odata.Incidents{Tenant: s.Tenant, Chance: rand.New(rand.NewPCG(opts.Seed, 3))}
	s.Entra = entra.Endpoint{
		TenantID: opts.TenantID, ClientID: cmp.Or(opts.ClientID, DefaultClientID), ClientSecret: cmp.Or(opts.ClientSecret, DefaultClientSecret),
		Lifetime: cmp.Or(max(0, opts.TokenLifetime), time.Hour), Trace: s.Incidents.Trace,
	}
	s.Hooks = Hooks{
		Call:     func(_ *odata.Exchange, _ string, _ []odata.Limit, next func()) { next() },
		Throttle: throttle, Token: s.token, Answered: func(*wire.Reply, time.Time) {},
	}
	if !opts.NoRoles {
		s.Entra.Roles = []string{DefaultRole}
	}
	return s
}

// ExpireTokens makes every token issued so far invalid: the API answers 401
// until a new one was requested.
func (s *Service) ExpireTokens() { s.Do(func(time.Time) { s.Entra.Expire() }) }

// SetRoles sets the application roles of tokens issued from now on.
func (s *Service) SetRoles(roles ...string) {
	s.Do(func(time.Time) { s.Entra.Roles = slices.Clone(roles) })
}

// SetClientSecret rotates the secret. Tokens that were issued stay valid.
func (s *Service) SetClientSecret(secret string) {
	s.Do(func(time.Time) { s.Entra.ClientSecret = secret })
}

// Handler serves the tenant over HTTP:
//
//	GET  /api/incidents, /api/incidents/     list
//	GET  /api/incidents/{id}                 one incident
//	GET  /v1.0/security/incidents            the list of Microsoft Graph
//	GET  /v1.0/security/incidents/{id}       one incident there
//	POST /{tenant}/oauth2/v2.0/token         token endpoint
func (s *Service) Handler() http.Handler { return wire.Handler(s.Answer) }

// Answer decides on an answer while nothing else happens, and writes it then.
func (s *Service) Answer(c *wire.Call) *wire.Reply {
	var rep *wire.Reply
	s.Do(func(now time.Time) {
		rep = s.route(c, now)
		rep.Header.Set("Date", now.Format(http.TimeFormat))
		s.Hooks.Answered(rep, now)
		s.Account.log(Request{At: now, Method: c.Method, Path: c.Path, Query: c.Query, Status: rep.Status})
	})
	rep.Finish(c)
	return rep
}

func (s *Service) route(c *wire.Call, now time.Time) *wire.Reply {
	x := &odata.Exchange{Incidents: &s.Incidents, Face: s.defender, Call: c, Reply: wire.NewReply(), Now: now}
	rest, native := odata.Below(c.Path, s.defender.Path)
	graphRest, isGraph := odata.Below(c.Path, s.graph.Path)
	switch {
	case isGraph:
		x.Face = s.graph
		s.Account.GraphCalls++
		s.call(x, graphRest, &s.calls, s.Options.GraphLimits)
	case strings.HasSuffix(c.Path, entra.TokenPath), s.Identity[c.Path] != nil:
		s.Account.Tokens++
		return s.Hooks.Token(c, now)
	case native && rest == "":
		s.Account.Calls++
		s.call(x, rest, &s.list, s.Options.Limits)
	case native:
		s.Account.Gets++
		s.call(x, rest, &s.get, s.Options.GetLimits)
	default:
		s.Account.Other++
		x.Refuse(http.StatusNotFound, "NotFound", "No such resource.")
	}
	return x.Reply
}

// call is what all calls of the APIs have in common.
func (s *Service) call(x *odata.Exchange, path string, calls *window, limits []odata.Limit) {
	calls.received(x.Now, limits)
	operation, answer := x.Operation(path)
	s.Hooks.Call(x, operation, limits, func() {
		if x.Call.Method != http.MethodGet {
			x.Reply.Status = http.StatusMethodNotAllowed
			x.Reply.Header.Set("Allow", http.MethodGet)
			return
		}
		if status := s.Entra.Authorize(x.Call.Header.Get("Authorization"), x.Face.Roles, x.Now); status != 0 {
			x.RefuseStatus(status)
			return
		}
		if over, wait := calls.exceeded(limits); wait > 0 {
			s.Hooks.Throttle(x, over, wait)
			return
		}
		switch trouble := s.trouble(x.Now); {
		case trouble == RolesRevoked:
			x.RefuseStatus(http.StatusForbidden)
			return
		case trouble == QuotaSpent && len(limits) > 0:
			s.Hooks.Throttle(x, limits[0], untilNextMinute(x.Now))
			return
		}
		answer()
	})
	if x.Reply.Status == http.StatusTooManyRequests {
		s.Account.Throttled++
	}
}

func (s *Service) token(c *wire.Call, now time.Time) *wire.Reply {
	if identity := s.Identity[c.Path]; identity != nil {
		return identity(c, now)
	}
	return s.Entra.Answer(c, now)
}

func throttle(x *odata.Exchange, over odata.Limit, wait time.Duration) {
	code, text := x.Face.Throttled(over)
	x.Refuse(http.StatusTooManyRequests, code, text)
	x.Reply.Header.Set("Retry-After", RetryAfter(wait))
}

// RetryAfter is the header of that name, in whole seconds.
func RetryAfter(wait time.Duration) string {
	return fmt.Sprint(int((wait + time.Second - 1) / time.Second))
}
