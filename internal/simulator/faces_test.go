package simulator

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/defender"
	"m365_defender_exporter/internal/simulator/graph"
	"m365_defender_exporter/internal/simulator/odata"
)

// reader reads one face of a tenant on a clock driven by hand. Options are
// written for both: UPDATED stands for the name of the last update, ACTIVE for
// the status, and spaces are escaped.
type reader struct {
	*caller
	graph  bool
	tenant *Tenant
	clock  *clock
}

// eachFace runs a test over each API.
func eachFace(t *testing.T, name string, opts Options, test func(*testing.T, *reader)) {
	t.Helper()
	for _, graph := range []bool{false, true} {
		face := map[bool]string{false: "native", true: "graph"}[graph]
		t.Run(strings.TrimPrefix(name+"/"+face, "/"), func(t *testing.T) {
			clock := newClock()
			opts := opts
			opts.Now, opts.Limits, opts.GetLimits, opts.GraphLimits, opts.TokenLifetime = clock.now, unlimited, unlimited, unlimited, 1000*day
			tenant := New(opts)
			tenant.SetRoles(DefaultRole, DefaultGraphRole)
			test(t, &reader{inProcess(t, tenant), graph, tenant, clock})
		})
	}
}

func (r *reader) face() *odata.Face {
	if r.graph {
		return graph.Face("")
	}
	return defender.Face()
}

func (r *reader) words(options string) string {
	status := "'Active'"
	if r.graph {
		status = "'active'"
	}
	return strings.NewReplacer("UPDATED", r.face().Updated, "ACTIVE", status, " ", "%20").Replace(options)
}

// ask sends options, or follows a link.
func (r *reader) ask(options string) answer {
	r.t.Helper()
	if link, ok := strings.CutPrefix(options, r.base); ok {
		return r.get(link)
	}
	return r.get(r.face().Path + "?" + r.words(options))
}

type listRead struct {
	Next  string           `json:"@odata.nextLink"`
	Count *int             `json:"@odata.count"`
	Error map[string]any   `json:"error"`
	Value []map[string]any `json:"value"`
}

// read wants a page.
func (r *reader) read(options string) listRead {
	r.t.Helper()
	a := r.ask(options)
	var p listRead
	if a.err != nil || a.status/100 != 2 {
		r.t.Fatalf("%s: got %d %v %.300s", options, a.status, a.err, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		r.t.Fatalf("%s: %v in %.200s", options, err, a.body)
	}
	return p
}

// id of a row that shows it as it should.
func (r *reader) id(row map[string]any) int64 {
	if text, ok := row["id"].(string); ok {
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	n, _ := row["incidentId"].(float64)
	return int64(n)
}

func (r *reader) ids(rows []map[string]any) []int64 {
	var all []int64
	for _, row := range rows {
		all = append(all, r.id(row))
	}
	return all
}

// rows are the ids of one page.
func (r *reader) rows(options string) []int64 {
	r.t.Helper()
	return r.ids(r.read(options).Value)
}

// follow reads all pages by their links.
func (r *reader) follow(options string) (rows []int64, pages int) {
	r.t.Helper()
	for pages < 1000 {
		p := r.read(options)
		rows, pages = append(rows, r.ids(p.Value)...), pages+1
		if p.Next == "" {
			return rows, pages
		}
		options = p.Next
	}
	r.t.Fatal("links without end")
	return nil, 0
}

// byID looks an incident up.
func (r *reader) byID(id int64) answer {
	r.t.Helper()
	return r.get(fmt.Sprintf("%s/%d", r.face().Path, id))
}

// times of the rows' last update.
func (r *reader) times(rows []map[string]any) []time.Time {
	var all []time.Time
	for _, row := range rows {
		all = append(all, parseTime(r.t, row[r.face().Updated]))
	}
	return all
}
