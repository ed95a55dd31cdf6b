package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
)

// TestTakes: each option is honoured, ignored or refused, and a refusal is over
// when the request does not carry the option.
func TestTakes(t *testing.T) {
	const none = "UPDATED gt 2990-01-01T00:00:00Z"
	for name, test := range map[string]struct {
		options           string
		set               func(*Takes, odata.Take)
		honoured, ignored int    // rows of five
		native, graph     bool   // usually refused
		then              string // how one does without
	}{
		"order":       {"$orderby=UPDATED", func(s *Takes, is odata.Take) { s.OrderBy = is }, 5, 5, true, false, ""},
		"lower bound": {"$filter=" + none, func(s *Takes, is odata.Take) { s.Since = is }, 0, 5, false, false, "$filter=status eq ACTIVE"},
		"lt":          {"$filter=UPDATED lt 1980-01-01T00:00:00Z", func(s *Takes, is odata.Take) { s.Lt = is }, 0, 5, false, false, "$filter=UPDATED le 1980-01-01T00:00:00Z"},
		"le":          {"$filter=UPDATED le 1980-01-01T00:00:00Z", func(s *Takes, is odata.Take) { s.Le = is }, 0, 5, false, false, "$filter=UPDATED lt 1980-01-01T00:00:00Z"},
		"status":      {"$filter=status eq ACTIVE", func(s *Takes, is odata.Take) { s.Status = is }, 3, 5, false, false, "$filter=" + none},
		"alerts":      {"$expand=alerts", func(s *Takes, is odata.Take) { s.Alerts = is }, 5, 5, true, false, ""},
		"count":       {"$count=true", func(s *Takes, is odata.Take) { s.Count = is }, 5, 5, true, false, ""},
		"skip":        {"$skip=4", func(s *Takes, is odata.Take) { s.Skip = is }, 1, 5, false, false, "$top=2"},
		"top":         {"$top=2", func(s *Takes, is odata.Take) { s.Top = is }, 2, 5, false, false, "$skip=1"},
	} {
		eachFace(t, name, Options{}, func(t *testing.T, r *reader) {
			for i := range 5 {
				r.tenant.Create(Spec{Status: []string{life.Active, life.Resolved}[i%2]})
			}
			take := func(is odata.Take) {
				var f Faults
				test.set(&f.Takes, is)
				r.tenant.Fault(f)
			}
			usual := http.StatusOK
			if r.graph && test.graph || !r.graph && test.native {
				usual = http.StatusBadRequest
			}
			if a := r.ask(test.options); a.status != usual {
				t.Errorf("usually: got %d, want %d", a.status, usual)
			}
			take(odata.Honoured)
			if got := len(r.rows(test.options)); got != test.honoured {
				t.Errorf("honoured: got %d rows, want %d", got, test.honoured)
			}
			take(Ignored)
			if got := len(r.rows(test.options)); got != test.ignored {
				t.Errorf("ignored: got %d rows, want %d", got, test.ignored)
			}
			for _, is := range []odata.Take{Refused, 501, 500} {
				take(is)
				if a := r.ask(test.options); a.status != int(is) {
					t.Errorf("refused: got %d, want %d", a.status, is)
				} else if code, _ := errorCode(t, a); code == "" {
					t.Errorf("no code in %s", a.body)
				}
				if a := r.ask(test.then); a.status != http.StatusOK {
					t.Errorf("without the option: got %d %s", a.status, a.body)
				}
			}
		})
	}
}

// TestRefusalFollowsTheToken: a link whose token carries an option is refused
// with it, and one that was given out before is taken again afterwards.
func TestRefusalFollowsTheToken(t *testing.T) {
	eachFace(t, "", Options{Incidents: 30, Light: true, Mix: Mix{Active: 1}}, func(t *testing.T, r *reader) {
		opaque := Links{Shape: faults.LinkOpaque}
		r.tenant.Fault(Faults{Links: opaque})
		link := r.read("$top=10&$filter=status eq ACTIVE").Next
		r.tenant.Fault(Faults{Links: opaque, Takes: Takes{Status: 501}})
		if a := r.ask(link); a.status != 501 {
			t.Errorf("got %d", a.status)
		}
		r.tenant.Fault(Faults{Links: opaque, Takes: Takes{Skip: Refused, Top: Refused}})
		if got := len(r.rows(link)); got != 10 {
			t.Errorf("got %d rows", got)
		}
	})
}

func TestCount(t *testing.T) {
	eachFace(t, "", Options{Seed: 1, Incidents: 130, Light: true}, func(t *testing.T, r *reader) {
		r.tenant.Fault(Faults{Takes: Takes{Count: odata.Honoured}, Links: Links{Shape: LinkFull}})
		at := r.clock.now().Add(-60 * day).Format(odata.TimeFormat)
		for filter, skip := range map[string]int{"": 0, "&$filter=status eq ACTIVE": 3, "&$filter=UPDATED ge " + at + " and status eq ACTIVE": 0, "&$filter=UPDATED ge " + at: 2} {
			rows, _ := r.follow("$top=7" + filter)
			p := r.read(fmt.Sprintf("$count=true&$top=5&$skip=%d%s", skip, filter))
			if p.Count == nil || *p.Count != len(rows) || len(rows) == 0 {
				t.Errorf("%s: got count %v of %d rows", filter, p.Count, len(rows))
			}
			if p := r.read("$count=false" + filter); p.Count != nil {
				t.Errorf("%s: a count that was not asked for", filter)
			}
			if got := r.rows("$top=5" + fmt.Sprintf("&$skip=%d", skip) + filter); !slices.Equal(got, r.ids(p.Value)) {
				t.Errorf("%s: the count changes the rows: %v, %v", filter, got, r.ids(p.Value))
			}
		}
	})
}

func TestOrderByBothWays(t *testing.T) {
	eachFace(t, "", Options{Seed: 1, Incidents: 120, Light: true}, func(t *testing.T, r *reader) {
		for _, order := range []odata.Order{odata.NewestUpdate, OldestUpdate, NewestCreated, odata.OldestCreated, NoOrder} {
			r.tenant.Fault(Faults{Order: order, Takes: Takes{OrderBy: odata.Honoured}})
			for by, ascends := range map[string]bool{"UPDATED": true, "UPDATED asc": true, "UPDATED desc": false} {
				times := r.times(r.read("$orderby=" + by).Value)
				if !ascends {
					slices.Reverse(times)
				}
				if !slices.IsSortedFunc(times, time.Time.Compare) {
					t.Errorf("order %d: %s is not in order", order, by)
				}
			}
			if a := r.ask("$orderby=severity"); a.status != http.StatusBadRequest {
				t.Errorf("got %d", a.status)
			}
		}
		r.tenant.Fault(Faults{Order: NoOrder, Takes: Takes{OrderBy: Ignored}})
		if slices.IsSortedFunc(r.times(r.read("$orderby=UPDATED").Value), time.Time.Compare) {
			t.Error("ignored, and in order")
		}
	})
}

// TestTopLimit: the text is what has to be read.
func TestTopLimit(t *testing.T) {
	eachFace(t, "", Options{Incidents: 120, Light: true}, func(t *testing.T, r *reader) {
		most := r.face().Top
		if _, message := errorCode(t, r.ask(fmt.Sprintf("$top=%d", most+1))); message !=
			fmt.Sprintf("The limit of '%d' for Top query has been exceeded. The value from the incoming request is '%d'.", most, most+1) {
			t.Errorf("got %q", message)
		}
		r.tenant.Fault(Faults{TopLimit: 25})
		if got := len(r.rows("")); got != 25 {
			t.Errorf("unasked: got %d rows", got)
		}
		if got := len(r.rows("$top=25")); got != 25 {
			t.Errorf("got %d rows", got)
		}
		a := r.ask("$top=100")
		if _, message := errorCode(t, a); a.status != http.StatusBadRequest ||
			message != "The limit of '25' for Top query has been exceeded. The value from the incoming request is '100'." {
			t.Errorf("got %d %q", a.status, message)
		}
	})
}

func TestSkipCapAndRetention(t *testing.T) {
	eachFace(t, "", Options{Incidents: 120, Light: true}, func(t *testing.T, r *reader) {
		r.tenant.Fault(Faults{SkipCap: 60, Retention: 30 * day})
		if a, b := r.ask("$skip=61").status, r.ask("$skip=60").status; a != 400 || b != 200 {
			t.Errorf("skip: got %d, %d", a, b)
		}
		bound := func(age time.Duration) int {
			return r.ask("$filter=UPDATED ge " + r.clock.now().Add(-age).Format(odata.TimeFormat)).status
		}
		if a, b := bound(30*day+time.Second), bound(30*day); a != 400 || b != 200 {
			t.Errorf("retention: got %d, %d", a, b)
		}
		if a, b := r.ask("").status, r.ask("$filter=UPDATED le 1990-01-01T00:00:00Z").status; a != 200 || b != 200 {
			t.Errorf("without a lower bound: got %d, %d", a, b)
		}
	})
}

// TestPrecision: a server that compares in seconds takes both sides of a
// comparison for their second, and what is in one for equal.
func TestPrecision(t *testing.T) {
	for unit, want := range map[time.Duration]map[string]int{
		0:                {"ge": 1, "gt": 0, "le": 4, "lt": 3, "eq": 1},
		time.Millisecond: {"ge": 2, "gt": 0, "le": 4, "lt": 2, "eq": 2},
		time.Second:      {"ge": 3, "gt": 0, "le": 4, "lt": 1, "eq": 3},
	} {
		eachFace(t, unit.String(), Options{}, func(t *testing.T, r *reader) {
			at := start.Add(500 * time.Millisecond)
			third := r.tenant.Create(Spec{Updated: at.Add(8 * 100)})               // the bound
			second := r.tenant.Create(Spec{Updated: at.Add(3 * 100)})              // in its millisecond
			first := r.tenant.Create(Spec{Updated: at.Add(-2 * time.Millisecond)}) // in its second
			oldest := r.tenant.Create(Spec{Updated: at.Add(-time.Second)})         // before
			r.tenant.Fault(Faults{Precision: unit})
			for operator, n := range want {
				if got := r.rows("$filter=UPDATED " + operator + " " + at.Add(8*100).Format(odata.TimeFormat)); len(got) != n {
					t.Errorf("%s: got %d rows, want %d", operator, len(got), n)
				}
			}
			order := map[time.Duration][]int64{
				0: {third, second, first, oldest}, time.Millisecond: {second, third, first, oldest}, time.Second: {first, second, third, oldest},
			}[unit]
			if got := r.rows(""); !slices.Equal(got, order) {
				t.Errorf("order: got %v, want %v", got, order)
			}
			// What happens later fits in, and the switch can be turned back.
			r.clock.add(501 * time.Millisecond)
			r.tenant.Touch(oldest)
			if got := r.rows("")[0]; unit < time.Second && got != oldest {
				t.Errorf("after a touch: got %d first", got)
			}
			r.tenant.Fault(Faults{})
			if got, want := r.rows(""), []int64{oldest, third, second, first}; !slices.Equal(got, want) {
				t.Errorf("healthy again: got %v, want %v", got, want)
			}
		})
	}
}

func TestStatusValuesInBothWords(t *testing.T) {
	eachFace(t, "", Options{}, func(t *testing.T, r *reader) {
		r.tenant.Fault(Faults{RefuseStatusValues: []string{life.Active}})
		if a := r.ask("$filter=status eq ACTIVE"); a.status != 400 || !strings.Contains(a.body, "enumeration type") {
			t.Errorf("got %d %s", a.status, a.body)
		}
	})
}
