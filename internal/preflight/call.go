package preflight

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"m365_defender_exporter/client/auth"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/reason"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
)

// fewCalls grants a few of a tenant's calls, and would rather give up than wait.
type fewCalls struct {
	ledger     *tenant.SharedLedger
	left, made int
}

// patience is how long a grant is waited for.
const patience = 10 * time.Second

var errTooManyCalls = errors.New("the answer would need more calls than a check may make")

// noGrantError says that the ledger is full.
type noGrantError struct{ at time.Time }

func (e *noGrantError) Error() string {
	return "the quota is spent: no call before " + e.at.UTC().Format(time.RFC3339)
}

// call makes one call, once it is granted.
func (f *fewCalls) call(ctx context.Context, send func() error) error {
	if f.left <= 0 {
		return errTooManyCalls
	}
	for {
		now := time.Now()
		grant, at, err := f.ledger.Take(now)
		switch {
		case err != nil:
			return err
		case grant != 0:
			f.left--
			f.made++
			defer func() { f.ledger.Settle(grant, time.Now()) }()
			return send()
		case at.Sub(now) > patience:
			return &noGrantError{at}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(time.Until(at), time.Millisecond)):
		}
	}
}

// firstPage is what one call has brought.
type firstPage struct {
	listing.Page
	top            int // rows that there may be on one
	more           bool
	newest, oldest time.Time // last updates
	created        int       // incidents that were created between the two
}

// checkList makes one call and sees on its way there how the API is reached.
func (c *Result) checkList(ctx context.Context, t *tenant.Tenant, calls *fewCalls) (api, list Step, page *firstPage) {
	trace, ctx := newNetTrace(ctx, t.Config().APIURL, t.Credential().Scrubber())
	source := t.Source()
	began := time.Now()
	var got listing.Page
	request := listing.Request{Top: source.Offer().MaxTop, Alerts: source.Offer().Expand}
	err := calls.call(ctx, func() (err error) {
		got, err = source.List(ctx, request)
		return err
	})
	if limit := topLimit(err); limit > 0 {
		request.Top = limit
		err = calls.call(ctx, func() (err error) {
			got, err = source.List(ctx, request)
			return err
		})
	}
	took := time.Since(began)
	api = trace.step("api_host", err)
	if calls.made == 0 {
		api = Step{"api_host", Skipped, "no call was made", ""}
	}
	if err == nil {
		page = newFirstPage(got, request.Top)
		return api, Step{"list", OK, page.String() + " in " + took.Round(time.Millisecond).String(), ""}, page
	}
	c.refusal = t.Refusal(err)
	if api.Status == Failed {
		return api, Step{"list", Skipped, "the API cannot be reached", ""}, nil
	}
	detail, hint := explainCall(t, calls, err)
	return api, Step{"list", Failed, detail, hint}, nil
}

// topLimit is the page size that an answer names as the limit, 0 if it does not.
func topLimit(err error) int {
	if e, ok := errors.AsType[*listing.Error](err); ok {
		return e.TopLimit
	}
	return 0
}

func newFirstPage(p listing.Page, top int) *firstPage {
	f := &firstPage{Page: p, top: top, more: p.Link != "" || len(p.Rows) >= top}
	for i := range f.Rows {
		at := f.Rows[i].Updated
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
	for i := range f.Rows {
		if at := f.Rows[i].Created; !at.IsZero() && !at.Before(f.oldest) && !at.After(f.newest) {
			f.created++
		}
	}
	return f
}

// String reads as in "100 incidents and more".
func (f *firstPage) String() string {
	text := fmt.Sprintf("%d incidents", len(f.Rows))
	if len(f.Rows) == 1 {
		text = "1 incident"
	}
	if f.more {
		return text + " and more"
	}
	return text + ", all there are"
}

// explainCall says what an answer of the API means.
func explainCall(t *tenant.Tenant, calls *fewCalls, err error) (detail, hint string) {
	if full, ok := errors.AsType[*noGrantError](err); ok {
		return full.Error(), "the exporter, or another check, has just spent it; nothing is wrong"
	}
	e, ok := errors.AsType[*listing.Error](err)
	switch {
	case errors.Is(err, state.ErrOutOfReach):
		return err.Error(), "no call is made that the replicas cannot be told of: check --state.url, --state.password-file, and that Redis or Valkey runs"
	case !ok:
		return err.Error(), ""
	}
	if refused, ok := errors.AsType[*auth.Error](err); ok {
		return refused.Message(), refused.Hint
	}
	need := permissions[t.Config().API]
	switch {
	case e.Status == http.StatusUnauthorized:
		hint = "the API does not take this token: --api.url, --auth.scope and --cloud must belong together; or " + need.read + " is missing"
	case e.Status == http.StatusForbidden:
		hint = need.read + " of " + need.api + " is missing or lacks admin consent, or Defender XDR is not licensed in this tenant"
	case e.Status == http.StatusNotFound:
		hint = "this is not the API: check --api and --api.url"
	case e.Reason == reason.Throttled:
		hint = "another program spends the quota of this app registration; register an own one, or lower --api.quota-share"
		now := time.Now()
		t.Ledger().Throttled(now, e.RetryAfter, e.Limits)
		if until := calls.ledger.Ready(now); until.After(now) {
			hint = fmt.Sprintf("no call before %s; %s", until.UTC().Format(time.RFC3339), hint)
		}
	case e.Status >= 500:
		hint = "the service has a problem; try again later"
	case e.Reason == reason.Decode || e.Reason == reason.Partial:
		hint = "something else answers in the API's place, a proxy perhaps"
	case e.Reason == reason.Timeout:
		hint = "the API took longer than --api.timeout"
	}
	return e.Error(), hint
}
