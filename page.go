package main

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/common/version"
)

//go:embed status.html
var statusHTML string

var statusTemplate = template.Must(template.New("status").Parse(statusHTML))

// page is the status of everything.
type page struct {
	Version     string         `json:"version"`
	MetricsPath string         `json:"metrics_path"`
	Reload      *reloadStatus  `json:"last_reload"`
	Tenants     []tenantStatus `json:"tenants"`

	// For the eye only.
	States  []stateCount `json:"-"`
	Open    []openCount  `json:"-"`
	Trouble bool         `json:"-"` // show nothing else
	Hidden  int          `json:"-"`
}

type stateCount struct {
	State condition
	Count int
}

// statusPage shows how every tenant is doing, to a person or as JSON.
func statusPage(telemetryPath string, set *tenants, reload *reloader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		p := page{Version: version.Version, MetricsPath: telemetryPath, Reload: reload.status(now), Tenants: []tenantStatus{}}
		for _, t := range set.all() {
			p.Tenants = append(p.Tenants, t.status(now))
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.URL.Query().Get("format") == "json" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(p)
			return
		}
		p.arrange(r.URL.Query().Get("show") == "trouble")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = statusTemplate.Execute(w, p)
	})
}

// arrange sums up and puts first what somebody has to look at.
func (p *page) arrange(trouble bool) {
	states := map[condition]int{}
	for _, t := range p.Tenants {
		states[t.State]++
		for i, c := range t.OpenCounts {
			if i >= len(p.Open) {
				p.Open = append(p.Open, openCount{Severity: c.Severity})
			}
			p.Open[i].Count += c.Count
		}
	}
	for s := serving; s >= stuck; s-- {
		if n := states[s]; n > 0 {
			p.States = append(p.States, stateCount{s, n})
		}
	}
	slices.SortStableFunc(p.Tenants, func(a, b tenantStatus) int { return int(a.State - b.State) })
	if p.Trouble = trouble; trouble {
		all := len(p.Tenants)
		p.Tenants = slices.DeleteFunc(p.Tenants, func(t tenantStatus) bool { return t.State >= starting })
		p.Hidden = all - len(p.Tenants)
	}
}
