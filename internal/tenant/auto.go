package tenant

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
	"m365_defender_exporter/internal/state"
)

// Choice is what a tenant has to do with the choice of its API, which is not its
// own.
type Choice struct {
	// Refused is told each time that the API shows not to be there for the tenant,
	// since when it has shown nothing else, and whether that is sure to last: no role
	// is no passing failure. It must not wait.
	Refused func(why Fallback, since time.Time, sure bool)
	// Fallback says why Graph is read. It may be called at any time.
	Fallback func() Fallback
}

// Fallback is why Graph is read in place of the native API, as the value of a label.
type Fallback string

// The fallbacks. Outages are none: HTTP 5xx, no answer in time, no connection, a
// spent quota.
const (
	None Fallback = ""
	// Gone: there is no such API any more. The list is answered with 404 or 410, or its
	// host has no address.
	Gone Fallback = "gone"
	// Role: the API does not let the application read, or the directory does not know
	// the API.
	Role Fallback = "role"
)

// unknownResource are AADSTS errors that say that the API, not the application, is
// unknown or disabled in the directory.
// Source: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var unknownResource = []int{50001, 500011, 500014, 650052}

// Refusal tells whether the error of a call of the list, or of the request for its
// token, shows that the API is not there for the tenant.
func (t *Tenant) Refusal(err error) Fallback {
	if e, ok := errors.AsType[*auth.Error](err); ok {
		if slices.ContainsFunc(e.Codes, func(code int) bool { return slices.Contains(unknownResource, code) }) {
			return Role
		}
		return None
	}
	// A proxy is asked for by its own name, and looks up that of the API by itself.
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if u, err := url.Parse(t.config.APIURL); err == nil && e.IsNotFound && strings.EqualFold(strings.TrimSuffix(e.Name, "."), u.Hostname()) {
			return Gone
		}
		return None
	}
	e, ok := errors.AsType[*listing.Error](err)
	if !ok || e.Reason == reason.Throttled {
		return None
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusGone:
		return Gone
	case http.StatusForbidden:
		return Role
	case http.StatusUnauthorized:
		if roles, known := t.credential.Roles(); known && !t.readsBy(roles) {
			return Role
		}
	}
	return None
}

// readsBy tells whether one of the roles allows to read.
func (t *Tenant) readsBy(roles []string) bool {
	return slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(config.Roles[t.config.API], role) })
}

// judge tells who chooses the API if the answer to a call shows that it is not
// there. That an incident is not there shows nothing.
func (t *Tenant) judge(of listing.Operation, err error) {
	if t.choice == nil || of != listing.OperationList && err != nil {
		return
	}
	why, now := None, t.now()
	if err != nil {
		why = t.Refusal(err)
	}
	if why == None {
		t.refused = time.Time{}
		return
	}
	if t.refused.IsZero() {
		t.refused = now
	}
	t.choice.Refused(why, t.refused, why == Role && !t.hasRole())
}

// hasRole tells whether the last token shows a role that allows to read.
func (t *Tenant) hasRole() bool {
	roles, known := t.credential.Roles()
	return known && t.readsBy(roles)
}

// judgeToken is the same of a request for a token that has failed. What it shows of
// the login it does not show of the API.
func (t *Tenant) judgeToken(err error) {
	if t.choice != nil && t.Refusal(err) == Role {
		t.choice.Refused(Role, t.now(), true)
	}
}

// Fallback is why Graph is read in place of the native API; None if it is not, or if
// the operator has asked for it.
func (t *Tenant) Fallback() Fallback {
	if t.choice == nil || t.config.API != config.Graph {
		return None
	}
	return t.choice.Fallback()
}

// Permitted gets an access token, and returns why it shows no role that allows to
// read, nil if it does. It makes no call of the API, and ends with ctx; it is for a
// tenant that is not run.
func (t *Tenant) Permitted(ctx context.Context) error {
	defer context.AfterFunc(ctx, t.credential.Close)()
	if _, err := t.credential.Token(); err != nil {
		return err
	}
	roles, known := t.credential.Roles()
	switch {
	case !known:
		return errors.New("the access token cannot be looked into")
	case !t.readsBy(roles):
		return fmt.Errorf("the access token does not show the role %s", config.Roles[t.config.API][0])
	}
	return nil
}

// Try makes one call of the list as soon as the quota has room for it, and closes
// the tenant, which has to be open, and is not run. It tells whether that shows an
// incident; its error is that of the call, of the token, or of the store, which could
// not record it.
func (t *Tenant) Try(ctx context.Context) (shows bool, err error) {
	defer t.Close()
	defer context.AfterFunc(ctx, t.credential.Close)()
	defer func() { _, _ = t.state.saveLedger(t.ledger.log.Final(t.now())) }() // what fails is said there
	if err := t.source.Authorize(ctx); err != nil {
		return false, err
	}
	for {
		now := t.now()
		grant, at, err := t.ledger.Take(now, tried)
		if err != nil {
			return false, err
		}
		if grant != 0 {
			defer func() { t.ledger.Settle(grant, t.now()) }()
			page, err := t.source.List(ctx, listing.Request{Top: 1})
			if e, ok := errors.AsType[*listing.Error](err); ok && e.Reason == reason.Throttled && !e.Unsent {
				t.ledger.Throttled(t.now(), e.RetryAfter, e.Limits)
			}
			return slices.ContainsFunc(page.Rows, func(in incident.Incident) bool { return in.ID != 0 }), err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(max(at.Sub(now), time.Millisecond)):
		}
	}
}

// tried is the pass that a try counts as: no tenant is read by sweeps alone.
const tried = pass.Sweep

// LastUse is when a tenant was last read by an API, from the ledger that was saved:
// the last call, or the end of the ledger if its windows have forgotten all calls.
// Zero: it is not known that it was. The native API's ledger without any calls but
// tries is none of a tenant that was read.
func LastUse(api string, saved state.Written, now time.Time) (at time.Time) {
	if saved.Packed == nil {
		return at
	}
	log, err := unpackLog(saved, now)
	if err != nil {
		return at
	}
	if len(log.Grants) == 0 {
		return log.At
	}
	for _, e := range log.Grants {
		if (api != config.Defender || e.Pass != tried) && e.At.After(at) {
			at = e.At
		}
	}
	return at
}
