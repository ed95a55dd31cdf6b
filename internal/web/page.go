package web

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/version"

	"m365_defender_exporter/internal/tenant"
)

//go:embed status.html
var statusHTML string

var statusTemplate = template.Must(template.New("status").Parse(statusHTML))

// page is the status of everything. The names of its fields in JSON are
// documented and do not change.
type page struct {
	Version     string         `json:"version"`
	Revision    string         `json:"revision"`
	MetricsPath string         `json:"metrics_path"`
	Reload      *reloadStatus  `json:"last_reload"`
	Tenants     []tenantStatus `json:"tenants"`
	// Elsewhere are the tenants of the configuration that are not served here.
	Elsewhere []elsewhereStatus `json:"tenants_elsewhere,omitempty"`
	// Replica is the name of this exporter among Replicas, all that share the state;
	// empty if none do.
	Replica  string   `json:"replica,omitempty"`
	Replicas []string `json:"replicas,omitempty"`
	// OwnersError says why the owners of the others are not known.
	OwnersError string `json:"owners_error,omitempty"`

	// For the eye only.
	States             []stateCount       `json:"-"`
	Open               []tenant.OpenCount `json:"-"` // of all tenants that are shown
	Unassigned, Others int32              `json:"-"` // likewise; of unknown severity
	Query              string             `json:"-"`
	Problems, ByHigh   bool               `json:"-"`
	Hidden             int                `json:"-"` // by the query, or for having no problem
	All, ProblemsLink  string             `json:"-"`
	SortHigh, SortName string             `json:"-"`
}

type stateCount struct {
	State tenant.Condition
	Class string
	Count int
}

// statusPage shows how every tenant is doing, to a person or as JSON. Of the
// query it takes q, a part of the tenant's name; format=json; show=problems and
// sort=high.
func statusPage(telemetryPath string, f Fleet, reload Reloader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, query := time.Now(), r.URL.Query()
		p := page{
			Version: version.Version, Revision: version.GetRevision(), MetricsPath: telemetryPath, Reload: statusOfReload(reload, now),
			Tenants: []tenantStatus{}, Query: query.Get("q"), Problems: query.Get("show") == "problems", ByHigh: query.Get("sort") == "high",
		}
		for _, t := range f.Tenants() {
			if strings.Contains(strings.ToLower(t.String()), strings.ToLower(p.Query)) {
				p.Tenants = append(p.Tenants, statusOf(t, now))
			} else {
				p.Hidden++
			}
		}
		p.lookElsewhere(r.Context(), f)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if query.Get("format") == "json" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(p)
			return
		}
		p.arrange()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = statusTemplate.Execute(w, p)
	})
}

// ownersWithin is how long a person waits for a shared state to say whose tenants
// are.
const ownersWithin = 2 * time.Second

// lookElsewhere adds what is not served here, and whose it is.
func (p *page) lookElsewhere(ctx context.Context, f Fleet) {
	ctx, cancel := context.WithTimeout(ctx, ownersWithin)
	defer cancel()
	if s, shared := f.Replicas(); shared {
		p.Replica, p.Replicas = s.Name, s.Names
	}
	all, err := f.Unserved(ctx)
	if err != nil {
		p.OwnersError = err.Error()
	}
	for i := range all {
		s := elsewhereOf(&all[i])
		if strings.Contains(strings.ToLower(s.Name), strings.ToLower(p.Query)) && (!p.Problems || s.Problem()) {
			p.Elsewhere = append(p.Elsewhere, s)
		} else {
			p.Hidden++
		}
	}
}

// arrange sums up and puts first what has to be looked at.
func (p *page) arrange() {
	states := map[tenant.Condition]int{}
	for i := range p.Tenants {
		t := &p.Tenants[i]
		t.Link = link(t.Name, false, false)
		states[t.Condition]++
		for i, c := range t.Counts {
			if i >= len(p.Open) {
				p.Open = append(p.Open, tenant.OpenCount{Severity: c.Severity})
			}
			p.Open[i].Count += c.Count
		}
		if t.Unassigned != nil {
			p.Unassigned += *t.Unassigned
			p.Others += t.Others
		}
	}
	for s := tenant.Serving; s >= tenant.Stuck; s-- {
		if n := states[s]; n > 0 {
			p.States = append(p.States, stateCount{s, classes[s], n})
		}
	}
	slices.SortStableFunc(p.Tenants, func(a, b tenantStatus) int {
		if p.ByHigh {
			return int(b.High() - a.High())
		}
		return cmp.Compare(a.Condition, b.Condition)
	})
	if p.Problems {
		all := len(p.Tenants)
		p.Tenants = slices.DeleteFunc(p.Tenants, func(t tenantStatus) bool { return t.Condition >= tenant.Starting })
		p.Hidden += all - len(p.Tenants)
	}
	p.All, p.ProblemsLink = link("", false, p.ByHigh), link(p.Query, true, p.ByHigh)
	p.SortHigh, p.SortName = link(p.Query, p.Problems, true), link(p.Query, p.Problems, false)
}

// link is the query that shows the page so.
func link(q string, problems, byHigh bool) string {
	v := url.Values{}
	if q != "" {
		v.Set("q", q)
	}
	if problems {
		v.Set("show", "problems")
	}
	if byHigh {
		v.Set("sort", "high")
	}
	return "?" + v.Encode()
}

// reloadStatus is what the page says of the configuration.
type reloadStatus struct {
	Successful bool      `json:"successful"`
	Error      string    `json:"error,omitempty"`
	At         time.Time `json:"last_success"`
	AtText     string    `json:"-"`
}

func statusOfReload(r Reloader, now time.Time) *reloadStatus {
	at, err := r.LastReload()
	s := &reloadStatus{Successful: err == nil, At: at.UTC().Round(time.Second), AtText: ago(now, at)}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}
