package web

import (
	_ "embed"
	"encoding/json"
	"html/template"
	"m365_defender_exporter/internal/tenant"
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
	State tenant.Condition
	Class string
	Count int
}

// statusPage shows how every tenant is doing, to a person or as JSON.
func statusPage(telemetryPath string, f Fleet, reload Reloader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		p := page{Version: version.Version, MetricsPath: telemetryPath, Reload: statusOfReload(reload, now), Tenants: []tenantStatus{}}
		for _, t := range f.Tenants() {
			p.Tenants = append(p.Tenants, statusOf(t, now))
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
	states := map[tenant.Condition]int{}
	for _, t := range p.Tenants {
		states[t.State]++
		for i, c := range t.OpenCounts {
			if i >= len(p.Open) {
				p.Open = append(p.Open, openCount{Severity: c.Severity})
			}
			p.Open[i].Count += c.Count
		}
	}
	for s := tenant.Serving; s >= tenant.Stuck; s-- {
		if n := states[s]; n > 0 {
			p.States = append(p.States, stateCount{s, classes[s], n})
		}
	}
	slices.SortStableFunc(p.Tenants, func(a, b tenantStatus) int { return int(a.State - b.State) })
	if p.Trouble = trouble; trouble {
		all := len(p.Tenants)
		p.Tenants = slices.DeleteFunc(p.Tenants, func(t tenantStatus) bool { return t.State >= tenant.Starting })
		p.Hidden = all - len(p.Tenants)
	}
}

// reloadStatus is what the page says of the configuration.
type reloadStatus struct {
	Successful bool      `json:"successful"`
	Error      string    `json:"error,omitempty"`
	At         time.Time `json:"last_success"`
	AtText     string    `json:"-"`
}

func statusOfReload(r Reloader, now time.Time) *reloadStatus {
	loaded, err := r.LastReload()
	at, text := instant(now, loaded)
	s := &reloadStatus{Successful: err == nil, At: *at, AtText: text}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}
