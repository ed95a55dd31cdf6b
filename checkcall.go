package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"m365_defender_exporter/client"
	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/internal/incident"
)

// fewCalls is a tenant's limiter that grants so many calls and no more, and
// would rather give up than wait.
type fewCalls struct {
	*limiter
	left, made int
	// giveUp ends the call that is waiting; nil: there is none.
	giveUp context.CancelCauseFunc
}

// patience is how long a grant is waited for.
const patience = 10 * time.Second

var errTooManyCalls = errors.New("the answer would need more calls than a check may make")

// noGrantError says that the ledger is full.
type noGrantError struct{ at time.Time }

func (e *noGrantError) Error() string {
	return "the quota is spent: no call before " + e.at.UTC().Format(time.RFC3339)
}

// Take implements client.Limiter.
func (f *fewCalls) Take(now time.Time, pass incident.Pass) (uint64, time.Time) {
	if f.left <= 0 {
		f.stop(errTooManyCalls)
		return 0, now.Add(time.Hour)
	}
	id, at := f.limiter.Take(now, pass)
	switch {
	case id != 0:
		f.left--
		f.made++
	case at.Sub(now) > patience:
		f.stop(&noGrantError{at})
	}
	return id, at
}

func (f *fewCalls) stop(why error) {
	if f.giveUp != nil {
		f.giveUp(why)
	}
}

// firstPage is what one call has brought.
type firstPage struct {
	rows           []incident.Incident
	more           bool
	newest, oldest time.Time // last updates
	created        int       // incidents that were created between the two
}

// checkList makes one call and sees on its way there how the API is reached.
func checkList(ctx context.Context, t *tenant, calls *fewCalls) (api, list checkStep, page *firstPage) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	calls.giveUp = giveUp
	trace, ctx := newNetTrace(ctx, t.config.APIURL, t.credential.Scrubber())
	source, err := t.newSource(calls, -1)
	if err != nil {
		return checkStep{"api_host", stepSkipped, "", ""}, checkStep{"list", stepFailed, err.Error(), ""}, nil
	}
	began := time.Now()
	got, err := source.Page(ctx, incident.Query{Pass: incident.PassDelta}, incident.Cursor{})
	took := time.Since(began)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	api = trace.step("api_host", err)
	if calls.made == 0 {
		api = checkStep{"api_host", stepSkipped, "no call was made", ""}
	}
	switch {
	case err == nil:
		page = newFirstPage(got)
		return api, checkStep{"list", stepOK, page.String() + " in " + took.Round(time.Millisecond).String(), ""}, page
	case api.Status == stepFailed:
		return api, checkStep{"list", stepSkipped, "the API cannot be reached", ""}, nil
	}
	detail, hint := t.explainCall(err)
	return api, checkStep{"list", stepFailed, detail, hint}, nil
}

func newFirstPage(p incident.Page) *firstPage {
	f := &firstPage{rows: p.Incidents, more: !p.Last}
	for i := range f.rows {
		at := f.rows[i].Updated
		if at.IsZero() {
			continue
		}
		if at.After(f.newest) {
			f.newest = at
		}
		if f.oldest.IsZero() || at.Before(f.oldest) {
			f.oldest = at
		}
	}
	for i := range f.rows {
		if at := f.rows[i].Created; !at.IsZero() && !at.Before(f.oldest) && !at.After(f.newest) {
			f.created++
		}
	}
	return f
}

// String reads as in "100 incidents and more".
func (f *firstPage) String() string {
	text := fmt.Sprintf("%d incidents", len(f.rows))
	if len(f.rows) == 1 {
		text = "1 incident"
	}
	if f.more {
		return text + " and more"
	}
	return text + ", all there are"
}

// explainCall says what an answer of the API means.
func (t *tenant) explainCall(err error) (detail, hint string) {
	if full, ok := errors.AsType[*noGrantError](err); ok {
		return full.Error(), "the exporter itself, or whoever shares its ledger, has just spent it; nothing is wrong"
	}
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err.Error(), ""
	}
	if refused, ok := errors.AsType[*auth.Error](err); ok {
		return refused.Message(), refused.Hint
	}
	need := permissions[t.config.API]
	switch {
	case e.Status == http.StatusUnauthorized:
		hint = "the API does not take this token: --api.url, --auth.scope and --cloud must belong together; or " + need.read + " is missing"
	case e.Status == http.StatusForbidden:
		hint = need.read + " of " + need.api + " is missing or lacks admin consent, or Defender XDR is not licensed in this tenant"
	case e.Status == http.StatusNotFound:
		hint = "this is not the API: check --api and --api.url"
	case e.Status == http.StatusTooManyRequests:
		hint = "somebody else spends the quota of this app registration; register an own one, or lower --api.quota-share"
		if !e.Until.IsZero() {
			hint = fmt.Sprintf("no call before %s; %s", e.Until.UTC().Format(time.RFC3339), hint)
		}
	case e.Status >= 500:
		hint = "the service has a problem; try again later"
	case e.FailureReason() == "decode":
		hint = "something else answers in the API's place, a proxy perhaps"
	case e.FailureReason() == "timeout":
		hint = "the API took longer than --api.timeout"
	}
	return e.Error(), hint
}
