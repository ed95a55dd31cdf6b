package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/simulator/odata"
)

// TestOrders: each is what it says, over all pages, while no request asks for
// another; and what changes in between is in its place.
func TestOrders(t *testing.T) {
	for order, field := range map[odata.Order]string{odata.NewestUpdate: "UPDATED", OldestUpdate: "UPDATED", NewestCreated: "created", odata.OldestCreated: "created", NoOrder: ""} {
		eachFace(t, fmt.Sprint(order), Options{Seed: 5, Incidents: 260, Light: true}, func(t *testing.T, r *reader) {
			r.tenant.Fault(Faults{Order: order, Links: Links{Shape: faults.LinkOpaque}})
			for range 2 {
				var all []map[string]any
				for next := "$top=40"; next != ""; {
					p := r.read(next)
					all, next = append(all, p.Value...), p.Next
				}
				want := r.tenant.IDs()
				got := r.ids(all)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Fatalf("got %d rows, want %d", len(got), len(want))
				}
				times := r.times(all)
				if field == "created" {
					for i, row := range all {
						name := "createdTime"
						if r.graph {
							name = "createdDateTime"
						}
						times[i] = parseTime(t, row[name])
					}
				}
				if order == odata.NewestUpdate || order == NewestCreated {
					slices.Reverse(times)
				}
				if got := slices.IsSortedFunc(times, time.Time.Compare); got != (field != "") {
					t.Errorf("sorted: got %v", got)
				}
				if order == NoOrder && !slices.Equal(r.ids(all), first(r.follow("$top=50"))) {
					t.Error("the order is another one the next time")
				}
				r.clock.add(time.Hour)
				r.tenant.Touch(want[100])
				r.tenant.Create(Spec{})
			}
		})
	}
}

func first[A, B any](a A, _ B) A { return a }

// TestPages: small, ragged and empty pages, whatever leads from one to the next,
// show every row once.
func TestPages(t *testing.T) {
	for name, pages := range map[string]Pages{
		"cap": {Cap: 7}, "ragged": {Ragged: true}, "empty": {Empty: true}, "all": {Cap: 30, Ragged: true, Empty: true},
	} {
		for _, shape := range []faults.LinkShape{faults.LinkUsual, faults.LinkLossy, LinkFull, faults.LinkOpaque} {
			eachFace(t, fmt.Sprint(name, shape), Options{Seed: 5, Incidents: 230, Light: true}, func(t *testing.T, r *reader) {
				r.tenant.Fault(Faults{Pages: pages, Links: Links{Shape: shape}})
				got, n := r.follow("")
				slices.Sort(got)
				if want := r.tenant.IDs(); !slices.Equal(got, want) {
					t.Errorf("got %d rows, want %d", len(got), len(want))
				}
				if least := 230 / r.face().Top; n <= least+1 {
					t.Errorf("got %d pages", n)
				}
				p := r.read("")
				if pages.Empty && (len(p.Value) != 0 || p.Next == "") || pages.Cap > 0 && len(p.Value) > pages.Cap {
					t.Errorf("got %d rows, link %q", len(p.Value), p.Next)
				}
			})
		}
	}
}

// TestLinks: where they lead, and what they lose.
func TestLinks(t *testing.T) {
	eachFace(t, "", Options{Seed: 5, Incidents: 130, Light: true, Mix: Mix{Active: 1, Resolved: 1}}, func(t *testing.T, r *reader) {
		const options = "$top=20&$filter=status eq ACTIVE"
		plain := func(links Links) listRead {
			r.tenant.Fault(Faults{Links: links})
			return r.read(options)
		}
		second := r.rows(options + "&$skip=20")
		for shape, keeps := range map[faults.LinkShape]bool{faults.LinkUsual: r.graph, faults.LinkLossy: false, LinkFull: true, faults.LinkOpaque: true} {
			p := plain(Links{Shape: shape})
			if got := slices.Equal(r.rows(p.Next), second); got != keeps {
				t.Errorf("shape %d: %s keeps the query: %v", shape, p.Next, got)
			}
		}
		if p := plain(Links{None: true, Always: true}); p.Next != "" {
			t.Errorf("none: got %s", p.Next)
		}
		plain(Links{Always: true, Shape: LinkFull})
		if p := r.read(options + "&$skip=120"); p.Next == "" {
			t.Error("always: none on the last page")
		}
		for _, shape := range []faults.LinkShape{LinkFull, faults.LinkOpaque} {
			p := plain(Links{Cycle: 1, Shape: shape})
			if next := r.read(p.Next); !slices.Equal(r.ids(next.Value), r.ids(p.Value)) || r.read(next.Next).Next != next.Next {
				t.Errorf("cycle of one: got %s", next.Next)
			}
			p = plain(Links{Cycle: 2, Shape: shape})
			next := r.read(p.Next)
			if !slices.Equal(r.ids(next.Value), second) || !slices.Equal(r.rows(next.Next), r.ids(p.Value)) {
				t.Errorf("cycle of two: got %s", next.Next)
			}
		}
		if p := plain(Links{Host: Foreign}); !strings.HasPrefix(p.Next, Foreign+r.face().Path) {
			t.Errorf("foreign: got %s", p.Next)
		}
		p := plain(Links{PlainHTTP: true})
		if !strings.HasPrefix(p.Next, "http://simulated.example/") {
			t.Fatalf("plain: got %s", p.Next)
		}
		r.base = "http://simulated.example"
		r.ask(p.Next)
		if m := r.tenant.Meter(); m.Plain != 1 || m.PlainWithCredentials != 1 {
			t.Errorf("got %d, %d", m.Plain, m.PlainWithCredentials)
		}
	})
}

func TestHeavyPages(t *testing.T) {
	eachFace(t, "", Options{Seed: 5, Incidents: 60, Light: true}, func(t *testing.T, r *reader) {
		status := func(options string) int { return r.ask(options).status }
		r.tenant.Fault(Faults{Heavy: Heavy{Top: 20}})
		if a, b, c := status(""), status("$top=21"), status("$top=20"); a != 504 || b != 504 || c != 200 {
			t.Errorf("got %d, %d, %d", a, b, c)
		}
		r.tenant.Fault(Faults{Heavy: Heavy{Top: 20, Status: 500, WithAlerts: true}})
		if got, light := status("$top=21"), r.graph; (got == 200) != light {
			t.Errorf("without alerts: got %d", got)
		}
		r.tenant.Fault(Faults{Heavy: Heavy{Top: 20, Hang: true}})
		r.http.Timeout = 20 * time.Millisecond
		if a := r.ask("$top=21"); a.err == nil {
			t.Errorf("got %d, want no answer", a.status)
		}
	})
}

func TestPoison(t *testing.T) {
	eachFace(t, "", Options{Seed: 5, Incidents: 90, Light: true}, func(t *testing.T, r *reader) {
		all, _ := r.follow("")
		id := all[11]
		for i, poison := range []faults.Poison{{Nth: 12}, {Status: 503}} {
			if i == 1 {
				poison.ID = id
			}
			r.tenant.Fault(Faults{Poison: poison})
			want := max(500, poison.Status)
			if a, b, c := r.ask("").status, r.ask("$top=11").status, r.ask("$top=30&$skip=12").status; a != want || b != 200 || c != 200 {
				t.Errorf("got %d, %d, %d", a, b, c)
			}
			if a, b := r.ask("$top=1&$skip=11").status, r.byID(id).status; a != want || b != 200 {
				t.Errorf("alone: got %d, by id %d", a, b)
			}
			r.clock.add(time.Minute)
			r.tenant.Touch(all[40]) // it stays the same incident
			if a, b := r.ask("$top=12").status, r.ask("$top=1&$skip=12").status; a != 200 || b != want {
				t.Errorf("later: got %d, %d", a, b)
			}
			all, _ = allWithout(r)
			id = all[11]
		}
		if r.graph {
			r.tenant.Fault(Faults{Poison: faults.Poison{Nth: 1, WithAlerts: true}})
			if a, b := r.ask("$expand=alerts").status, r.ask("").status; a != 500 || b != 200 {
				t.Errorf("with alerts: got %d, %d", a, b)
			}
		}
	})
}

// allWithout reads all rows in health.
func allWithout(r *reader) ([]int64, int) {
	r.tenant.Fault(Faults{})
	return r.follow("")
}

func TestPartial(t *testing.T) {
	for name, test := range map[string]struct {
		partial faults.Partial
		rows    int // of ten
		value   string
	}{
		"206":             {faults.Partial{Status206: true, Warning: true}, 10, ""},
		"206, rows":       {faults.Partial{Status206: true, Warning: true, Missing: 0.7}, 3, ""},
		"206, no rows":    {faults.Partial{Status206: true, Warning: true, Missing: 1}, 0, `"value":[]`},
		"warning":         {faults.Partial{Warning: true, Missing: 0.5}, 5, ""},
		"error":           {faults.Partial{Error: true, Missing: 0.7}, 3, ""},
		"no value":        {faults.Partial{NoValue: true, NullValue: true}, 0, ""},
		"null":            {faults.Partial{NullValue: true}, 0, `"value":null`},
		"everything else": {faults.Partial{Status206: true, Error: true, Missing: 0.1}, 9, ""},
	} {
		eachFace(t, name, Options{Seed: 5, Incidents: 20, Light: true}, func(t *testing.T, r *reader) {
			healthy := r.read("$top=10")
			r.tenant.Fault(Faults{Partial: test.partial})
			a := r.ask("$top=10")
			p := r.read("$top=10")
			if (a.status == http.StatusPartialContent) != test.partial.Status206 || (a.header.Get("Warning") != "") != test.partial.Warning ||
				(p.Error != nil) != test.partial.Error || strings.Contains(a.body, `"value"`) == test.partial.NoValue {
				t.Errorf("got %d, Warning %q, %.200s", a.status, a.header.Get("Warning"), a.body)
			}
			if len(p.Value) != test.rows || p.Next != healthy.Next || !strings.Contains(a.body, test.value) {
				t.Errorf("got %d rows, want %d; link %s", len(p.Value), test.rows, p.Next)
			}
			if r.byID(r.id(healthy.Value[9])).status != http.StatusOK {
				t.Error("a call by id is partial")
			}
			test.partial.Count = 2
			r.tenant.Fault(Faults{Partial: test.partial})
			r.ask("")
			r.ask("")
			if p := r.read("$top=10"); len(p.Value) != 10 {
				t.Errorf("after two: got %d rows", len(p.Value))
			}
		})
	}
	t.Run("share", func(t *testing.T) {
		tenant := New(Options{Limits: unlimited})
		c := inProcess(t, tenant)
		tenant.Fault(Faults{Partial: faults.Partial{Status206: true, Share: 0.3}})
		hits := 0
		for range 500 {
			if c.get("/api/incidents").status == http.StatusPartialContent {
				hits++
			}
		}
		if hits < 100 || hits > 200 {
			t.Errorf("got %d of 500, want about 150", hits)
		}
	})
}
