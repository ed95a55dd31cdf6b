package web

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenant"
)

// TestProblemsComeFirst: a person who is paged sees what is wrong without looking
// for it, and can hide the rest.
func TestProblemsComeFirst(t *testing.T) {
	inFleet(t, slog.New(slog.DiscardHandler), func(f *served) {
		configs := []config.Tenant{f.Tenant("well"), f.Tenant("refused"), f.Tenant("slow"), f.Tenant("fine")}
		f.Sims["refused"].SetClientSecret("another")
		reload := f.reloader(slog.New(slog.DiscardHandler), configs...)
		f.wait(2 * time.Minute)
		f.Sims["slow"].Fault(simulator.Faults{Delay: time.Hour})
		f.wait(10 * time.Minute)
		show := func(query string) string {
			w := httptest.NewRecorder()
			statusPage("/metrics", f.Fleet, reload).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+query, nil))
			return w.Body.String()
		}
		order := func(text string) (names []string) {
			for _, part := range strings.Split(text, "<strong>")[1:] {
				name, _, _ := strings.Cut(part, "<")
				names = append(names, name)
			}
			return names
		}
		all := show("")
		if got, want := fmt.Sprint(order(all)), "[refused slow well fine]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for _, want := range []string{"<b>2</b> up", "<b>2</b> down", "invalid_client", "only problems", "of 40 per minute", "of 1200 per hour"} {
			if !strings.Contains(all, want) {
				t.Errorf("%q is not on the page", want)
			}
		}
		for query, want := range map[string]string{
			"?show=problems": "[refused slow]", "?q=E": "[refused well fine]", "?q=e&show=problems": "[refused]", "?q=fine": "[fine]", "?q=nobody": "[]",
			"?q=%3Cscript%3E": "[]", "?sort=high": "[well slow fine refused]",
		} {
			text := show(query)
			if got := fmt.Sprint(order(text)); got != want || strings.Contains(text, "<script") {
				t.Errorf("%s: got %s, want %s", query, got, want)
			}
		}
		for _, want := range []string{`max="40" high="32"`, `max="1200" high="960"`, "trying again", `<a href="?q=well">`, " unassigned</span>"} {
			if !strings.Contains(all, want) {
				t.Errorf("%q is not on the page", want)
			}
		}
		// Counts that are old do not look like fresh ones.
		row := func(name string) string {
			_, text, _ := strings.Cut(all, "<strong>"+name)
			text, _, _ = strings.Cut(text, "</tr>")
			return text
		}
		if strings.Contains(row("well"), `n old"`) || strings.Count(row("slow"), `class="n old"`) != 6 {
			t.Errorf("got %s and %s", row("well"), row("slow"))
		}
	})
}

// TestNextInWords: what the next refresh waits for.
func TestNextInWords(t *testing.T) {
	now := time.Unix(1e9, 0)
	in := now.Add
	known := incident.Coverage{Open: true}
	for _, test := range []struct {
		status tenant.Status
		want   string
	}{
		{tenant.Status{Condition: tenant.Serving, Refresh: &refresh.Status{Coverage: known, NextDelta: in(23 * time.Second)}}, "next in 23s"},
		{tenant.Status{Condition: tenant.Serving, Refresh: &refresh.Status{Coverage: known, NextDelta: in(-time.Minute)}}, "due now"},
		{tenant.Status{Condition: tenant.Starting, Refresh: &refresh.Status{}}, "reading"},
		{tenant.Status{Condition: tenant.Down, Refresh: &refresh.Status{}}, "trying again"},
		{tenant.Status{Condition: tenant.Down, Refresh: &refresh.Status{NextFirst: in(18 * time.Second)}}, "next in 18s"},
		{tenant.Status{Condition: tenant.Down, NextToken: in(4 * time.Minute), Refresh: &refresh.Status{NextFirst: in(18 * time.Second)}}, "next token request in 4m0s, or with a new credential"},
		{tenant.Status{Condition: tenant.Down, NextToken: in(4 * time.Second), Refresh: &refresh.Status{Coverage: known, NextDelta: in(18 * time.Second)}}, "next in 18s"},
		{tenant.Status{Condition: tenant.Down, Refresh: &refresh.Status{Coverage: known, NextDelta: in(8 * time.Minute)}}, "next in 8m0s"},
		{tenant.Status{Condition: tenant.Serving, WaitingFor: "hour", WaitingUntil: in(97 * time.Second), Refresh: &refresh.Status{Coverage: known}}, "waiting for its limit per hour: goes on in 1m37s"},
		{tenant.Status{Condition: tenant.Throttled, WaitingFor: "retry_after", WaitingUntil: in(time.Minute), Refresh: &refresh.Status{Coverage: known}}, "the API says wait: goes on in 1m0s"},
	} {
		if got := nextText(now, &test.status); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// TestWhenItGoesOn: of a tenant that fails the page tells when it is tried again, and
// one whose quota is used up is not taken for one that fails.
func TestWhenItGoesOn(t *testing.T) {
	inFleet(t, slog.New(slog.DiscardHandler), func(f *served) {
		configs := []config.Tenant{f.Tenant("refused"), f.Tenant("first"), f.Tenant("throttled")}
		f.Sims["refused"].SetClientSecret("another")
		f.Sims["first"].Fault(simulator.Faults{Status: http.StatusServiceUnavailable})
		f.reloader(slog.New(slog.DiscardHandler), configs...)
		f.wait(5 * time.Minute)
		f.Sims["throttled"].Fault(simulator.Faults{Status: http.StatusTooManyRequests, RetryAfter: "55"})
		f.wait(time.Minute)
		now := time.Now()
		for name, want := range map[string]struct {
			state tenant.Condition
			next  string
		}{
			"refused":   {tenant.Down, "next token request in "},
			"first":     {tenant.Down, "next in "},
			"throttled": {tenant.Throttled, "the API says wait: goes on in "},
		} {
			got := statusOf(f.of(name), now)
			if got.Condition != want.state || !strings.HasPrefix(got.NextText, want.next) || got.Error == "" {
				t.Errorf("%s: got %v, %q, error %q", name, got.Condition, got.NextText, got.Error)
			}
			if name == "refused" != (got.NextToken != nil) || name != "throttled" && (got.NextRefresh == nil || got.NextRefresh.Before(now)) {
				t.Errorf("%s: next refresh at %v, next token request at %v", name, got.NextRefresh, got.NextToken)
			}
		}
		// When the secret is right again, this passes by itself.
		f.Sims["refused"].SetClientSecret(simulator.DefaultClientSecret)
		f.wait(10 * time.Minute)
		if got := statusOf(f.of("refused"), time.Now()); got.Condition != tenant.Serving || got.NextToken != nil {
			t.Errorf("got %v, next token request at %v", got.Condition, got.NextToken)
		}
	})
}

// TestSecretsAreNowhere: not on the status page, not in the log, not in what
// prints itself, whatever fails.
func TestSecretsAreNowhere(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	inFleet(t, logger, func(f *served) {
		cfg := f.Tenant("a")
		cfg.ClientSecret = "hush-hush"
		text := fmt.Appendf(nil, "tenants: [{tenant_id: a.example, auth: {client_id: c, client_secret_file: s}, http: {proxy_url: %q, proxy_connect_header: {Proxy-Authorization: [hush-hush]}}}]",
			"http://user:hush-hush@proxy.example:3128")
		parsed, err := config.Parse(config.File{Path: "config.yaml", Text: text})
		if err != nil {
			t.Fatal(err)
		}
		cfg.HTTP = parsed[0].HTTP
		reload := f.reloader(logger, cfg)
		f.wait(time.Minute)
		logger.Info("all", "config", cfg, "http", cfg.HTTP, "secret", cfg.ClientSecret)
		fmt.Fprintf(&log, "%v %+v %#v %s", cfg, cfg, cfg, fmt.Errorf("%v", []any{cfg, &cfg}))
		for _, url := range []string{"/", "/status?format=json"} {
			w := httptest.NewRecorder()
			statusPage("/metrics", f.Fleet, reload).ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, url, nil))
			if !strings.Contains(w.Body.String(), "invalid_client") {
				t.Errorf("%s does not tell what is wrong", url)
			}
			log.Write(w.Body.Bytes())
		}
		func() {
			defer func() { fmt.Fprintf(&log, "%v", recover()) }()
			panic(cfg)
		}()
	})
	if strings.Contains(log.String(), "hush") {
		t.Errorf("a secret is in: %s", log.String())
	}
}
