package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/state"
)

// checkReport is the result of the command check. The names of its fields in
// JSON are documented and do not change.
type checkReport struct {
	OK      bool          `json:"ok"`
	Tenants []tenantCheck `json:"tenants"`
}

// tenantCheck is the part of one tenant, its steps in the order in which a
// person would look for a mistake.
type tenantCheck struct {
	Tenant   string      `json:"tenant"`
	TenantID string      `json:"tenant_id"`
	API      string      `json:"api"`
	Cloud    string      `json:"cloud"`
	OK       bool        `json:"ok"`
	Steps    []checkStep `json:"steps"`
	// APICalls is what the check cost, two at most.
	APICalls int           `json:"api_calls"`
	Token    *tokenClaims  `json:"token,omitempty"`
	Estimate *syncEstimate `json:"estimate,omitempty"`
}

// checkStep is one step: configuration, login_host, api_host, token,
// permission, list, quota or estimate.
type checkStep struct {
	Step   string     `json:"step"`
	Status stepStatus `json:"status"`
	// Detail is what was found, Hint what to do about it.
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// stepStatus is how a step went.
type stepStatus string

const (
	stepOK      stepStatus = "ok"
	stepFailed  stepStatus = "failed"
	stepSkipped stepStatus = "skipped"
)

// check is the command: it tries every tenant and writes what it found. It
// returns the exit code.
func check(ctx context.Context, o *options, logger *slog.Logger, stdout io.Writer) int {
	if o.log.Level.String() != "debug" {
		// The report says it all.
		logger = slog.New(slog.DiscardHandler)
	}
	if o.demo {
		stopDemo, err := startDemo(ctx, o, logger)
		if err != nil {
			_, _ = fmt.Fprintln(stdout, "start the demo:", err)
			return exitRuntime
		}
		defer stopDemo()
	}
	report := checkReport{OK: true}
	tenants := o.tenants
	if o.configFile == "" {
		tenants = []config.Tenant{o.tenant}
	}
	store, err := state.New(o.stateURL())
	if err != nil {
		_, _ = fmt.Fprintln(stdout, "--state.url is", err)
		return exitUsage
	}
	var shared transports
	for _, cfg := range tenants {
		t, err := checkable(cfg, &shared, logger)
		var result tenantCheck
		if err != nil {
			result = newTenantCheck(cfg)
			result.add("configuration", stepFailed, err.Error())
		} else {
			result = checkTenant(ctx, t, store)
		}
		result.OK = result.ok()
		report.OK = report.OK && result.OK
		report.Tenants = append(report.Tenants, result)
		if o.checkFormat != "json" {
			writeCheck(stdout, &result)
		}
	}
	if o.checkFormat == "json" {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(report)
	}
	if !report.OK {
		return exitRuntime
	}
	return exitOK
}

// checkable makes the tenant that is checked, as it would be served.
func checkable(cfg config.Tenant, shared *transports, logger *slog.Logger) (*tenant, error) {
	transport, err := shared.of(cfg.HTTP)
	if err != nil {
		return nil, err
	}
	return newTenant(cfg, environment{transport: transport, logger: logger})
}

func newTenantCheck(cfg config.Tenant) tenantCheck {
	return tenantCheck{Tenant: cfg.Name, TenantID: cfg.TenantID, API: cfg.API, Cloud: cfg.Cloud}
}

// add appends a step.
func (c *tenantCheck) add(step string, status stepStatus, detail string) {
	c.Steps = append(c.Steps, checkStep{Step: step, Status: status, Detail: detail})
}

func (c *tenantCheck) ok() bool {
	for _, s := range c.Steps {
		if s.Status == stepFailed {
			return false
		}
	}
	return true
}

// checkTenant tries one tenant. All calls of the API take grants of the
// tenant's own ledger, the saved one if nobody has it in use.
func checkTenant(ctx context.Context, t *tenant, store state.Store) tenantCheck {
	defer context.AfterFunc(ctx, t.credential.Close)()
	cfg := t.config
	c := newTenantCheck(cfg)
	c.add("configuration", stepOK, fmt.Sprintf("API %s, login %s, scope %s", cfg.APIURL, cfg.AuthURL, cfg.AuthScope))
	login, reached := probeLogin(ctx, t)
	c.Steps = append(c.Steps, login)
	var token, permission checkStep
	if reached {
		token, permission = c.checkToken(t)
	} else {
		token = checkStep{"token", stepSkipped, "the login host cannot be reached", ""}
		permission = checkStep{"permission", stepSkipped, "there is no token", ""}
	}
	ledger := t.borrowLedger(store.Borrow(t.state.key), time.Now())
	calls := &fewCalls{limiter: t.limiter, left: 2}
	var api, list checkStep
	var page *firstPage
	if token.Status == stepOK {
		api, list, page = checkList(ctx, t, calls)
	} else {
		api = probeAPI(ctx, t, calls)
		list = checkStep{"list", stepSkipped, "there is no token", ""}
	}
	if sameHost(cfg.AuthURL, cfg.APIURL) && api.Status == stepOK && login.Status == stepOK {
		api.Detail = "the same as the login host"
	}
	if list.Status == stepFailed && permission.Status == stepFailed {
		list.Hint = "most likely because of the permission"
	}
	if list.Status == stepOK && permission.Status == stepFailed {
		// The API's word counts more than what we read in the token.
		permission = checkStep{"permission", stepOK, "not named in the token, but the API is content", ""}
	}
	c.Steps = append(c.Steps, api, token, permission, list)
	c.APICalls = calls.made
	ledger.settle(t.ledger, calls.made, time.Now())
	c.checkQuota(t, page, ledger.note(cfg.QuotaShare), time.Now())
	return c
}
