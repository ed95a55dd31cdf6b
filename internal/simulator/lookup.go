package simulator

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// Lookups are what is wrong with calls by id.
type Lookups struct {
	// Status is the answer to all of them; 0: the usual.
	Status int
	// Missing is the answer where there is no such incident; 0: 404.
	Missing int
}

// answerGet answers a call by id.
func (t *Tenant) answerGet(rep *reply, c *call, id string) {
	values, err := url.ParseQuery(c.query)
	expand := values.Get("$expand")
	if err != nil || expand != "" && expand != "alerts" {
		rep.refuse(http.StatusBadRequest, "BadRequest", "The query is malformed.", t.traceID())
		return
	}
	honoured := expand != ""
	if expand != "" {
		var bad *refusal
		if honoured, bad = take(t.faults.Takes.Alerts, c.flavour().takes.Alerts, "$expand"); bad != nil {
			t.refuseQuery(rep, c, bad)
			return
		}
	}
	if e := t.lookUp(rep, id); e != nil {
		rep.written = &single{base: c.base, graph: c.graph, entry: e, expand: honoured || !c.graph, prefer: prefers(c), shapes: t.faults.shapes()}
	}
}

// answerAlerts answers where the link to an incident's alerts leads.
func (t *Tenant) answerAlerts(rep *reply, c *call, id string) {
	values, err := url.ParseQuery(c.query)
	from, bad := 0, (*refusal)(nil)
	if token := values.Get("$skiptoken"); token != "" && err == nil {
		from, bad = number("skiptoken", token, int(^uint(0)>>1))
	}
	if err != nil || bad != nil {
		rep.refuse(http.StatusBadRequest, "BadRequest", "The query is malformed.", t.traceID())
		return
	}
	if e := t.lookUp(rep, id); e != nil {
		rep.written = &alertPage{
			base: c.base, graph: c.graph, entry: e, from: min(from, len(e.Alerts)), size: t.faults.Alerts.Page, prefer: prefers(c),
		}
	}
}

// lookUp finds the incident, or answers why not.
func (t *Tenant) lookUp(rep *reply, id string) *entry {
	n, err := strconv.ParseInt(id, 10, 64)
	e := t.records[n]
	switch {
	case t.faults.Lookups.Status != 0:
		t.refuseStatus(rep, t.faults.Lookups.Status)
		return nil
	case err != nil:
		rep.refuse(http.StatusBadRequest, "BadRequest", "The incident id is not a number.", t.traceID())
	case e == nil && cmp.Or(t.faults.Lookups.Missing, http.StatusNotFound) != http.StatusNotFound:
		t.refuseStatus(rep, t.faults.Lookups.Missing)
	case e == nil:
		rep.refuse(http.StatusNotFound, "ResourceNotFound", fmt.Sprintf("Incident %d was not found.", n), t.traceID())
	default:
		rep.status = http.StatusOK
	}
	return e
}
