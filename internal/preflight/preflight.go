// Package preflight is the command check: it tries every step from the
// configuration to one call of the API, says what is wrong and how to fix it.
package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/tenant"
)

// Report is what all tenants were found to be. The names of its fields in JSON
// are documented and do not change.
type Report struct {
	OK      bool     `json:"ok"`
	Tenants []Result `json:"tenants"`
}

// Result is that of one tenant, its steps in the order in which a
// person would look for a mistake.
type Result struct {
	Tenant   string `json:"tenant"`
	TenantID string `json:"tenant_id"`
	API      string `json:"api"`
	Cloud    string `json:"cloud"`
	OK       bool   `json:"ok"`
	Steps    []Step `json:"steps"`
	// APICalls is what the check cost, two at most.
	APICalls int           `json:"api_calls"`
	Token    *tokenClaims  `json:"token,omitempty"`
	Estimate *syncEstimate `json:"estimate,omitempty"`

	refusal tenant.Fallback // what a failure shows
}

// Step is one step: configuration, login_host, api_host, token,
// permission, list, quota or estimate.
type Step struct {
	Step   string `json:"step"`
	Status Status `json:"status"`
	// Detail is what was found, Hint what to do about it.
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Status is how a step went.
type Status string

// How a step can have gone.
const (
	// OK: nothing is wrong.
	OK Status = "ok"
	// Failed: the hint says what to do.
	Failed Status = "failed"
	// Skipped: an earlier step has failed, or there is nothing to try.
	Skipped Status = "skipped"
)

// Options are what is checked, and how that is told.
type Options struct {
	Tenants []config.Tenant
	// Store has the saved ledgers, which the calls are part of. It is not opened.
	Store state.Store
	// Transport carries the requests of a tenant with these settings.
	Transport func(config.HTTP) (http.RoundTripper, error)
	// Logger must not be nil.
	Logger *slog.Logger
	// JSON writes one report for programs; otherwise each tenant is written for
	// people as soon as it is done.
	JSON bool
}

// Run tries every tenant, one after the other, writes what it found to out and
// tells whether all are well. It makes at most two calls of each tenant's API,
// and waits for each step at most as long as the tenant's time limit, for a
// grant at most ten seconds. What ctx ends fails.
func Run(ctx context.Context, o Options, out io.Writer) bool {
	report := Report{OK: true}
	for _, cfg := range o.Tenants {
		var results []Result
		var ok bool
		if cfg.API == config.Auto {
			results, ok = o.checkAuto(ctx, cfg)
		} else {
			results = []Result{o.check(ctx, cfg)}
			ok = results[0].ok()
		}
		report.OK = report.OK && ok
		for _, result := range results {
			result.OK = result.ok()
			report.Tenants = append(report.Tenants, result)
			if !o.JSON {
				writeResult(out, &result)
			}
		}
	}
	if o.JSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(report)
	}
	return report.OK
}

// check makes the tenant as it would be served, and tries it.
func (o *Options) check(ctx context.Context, cfg config.Tenant) Result {
	var t *tenant.Tenant
	transport, err := o.Transport(cfg.HTTP)
	if err == nil {
		t, err = tenant.New(cfg, tenant.Dependencies{Transport: transport, Logger: o.Logger})
	}
	if err != nil {
		c := newResult(cfg)
		c.add("configuration", Failed, err.Error())
		return c
	}
	return try(ctx, t, o.Store)
}

func newResult(cfg config.Tenant) Result {
	return Result{Tenant: cfg.Name, TenantID: cfg.TenantID, API: cfg.API, Cloud: cfg.Cloud}
}

// add appends a step.
func (c *Result) add(step string, status Status, detail string) {
	c.Steps = append(c.Steps, Step{Step: step, Status: status, Detail: detail})
}

func (c *Result) ok() bool {
	for _, s := range c.Steps {
		if s.Status == Failed {
			return false
		}
	}
	return true
}

// try tries one tenant. All calls of the API take grants of the
// tenant's own ledger, the saved one if it is not in use.
func try(ctx context.Context, t *tenant.Tenant, store state.Store) Result {
	defer context.AfterFunc(ctx, t.Credential().Close)()
	cfg := t.Config()
	c := newResult(cfg)
	c.add("configuration", OK, fmt.Sprintf("API %s, login %s, scope %s", cfg.APIURL, cfg.AuthURL, cfg.AuthScope))
	login, reached := probeLogin(ctx, t)
	c.Steps = append(c.Steps, login)
	var token, permission Step
	if reached {
		token, permission = c.checkToken(t)
	} else {
		token = Step{"token", Skipped, "the login host cannot be reached", ""}
		permission = Step{"permission", Skipped, "there is no token", ""}
	}
	ledger := t.ShareLedger(store, time.Now())
	calls := &fewCalls{ledger: ledger, left: 2}
	var api, list Step
	var page *firstPage
	if token.Status == OK {
		api, list, page = c.checkList(ctx, t, calls)
	} else {
		api = probeAPI(ctx, t, calls)
		list = Step{"list", Skipped, "there is no token", ""}
	}
	if sameHost(cfg.AuthURL, cfg.APIURL) && api.Status == OK && login.Status == OK {
		api.Detail = "the same as the login host"
	}
	if list.Status == Failed && permission.Status == Failed {
		list.Hint = "most likely because of the permission"
	}
	if list.Status == OK && permission.Status == Failed {
		// The API's word counts more than what we read in the token.
		permission = Step{"permission", OK, "not named in the token, but the API is content", ""}
	}
	c.Steps = append(c.Steps, api, token, permission, list)
	c.APICalls = calls.made
	c.checkQuota(t, page, ledgerNote(ledger.Err(), cfg.QuotaShare), time.Now())
	return c
}
