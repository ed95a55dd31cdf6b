package odata

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"m365_defender_exporter/internal/simulator/life"
)

// alertsPath is what follows the id in the path of an incident's alerts.
const alertsPath = "/alerts"

// AlertsLink leads to an incident's alerts from the given one on.
func (x *Exchange) AlertsLink(id int64, from int) string {
	return fmt.Sprintf("%s%s/%d%s?$skiptoken=%d", x.Call.Base, x.Face.Path, id, alertsPath, from)
}

// one answers a call by id.
func (x *Exchange) one(id string) {
	values, err := url.ParseQuery(x.Call.Query)
	expand := values.Get("$expand")
	if err != nil || expand != "" && expand != "alerts" {
		x.malformed()
		return
	}
	honoured := expand != ""
	if honoured {
		var bad *refusal
		if honoured, bad = take(x.Rules.Takes.Alerts, x.Face.Takes.Alerts, "$expand"); bad != nil && bad.status != http.StatusOK {
			x.refuseQuery(bad)
			return
		}
	}
	x.lookUp(id, func(e *life.Entry) func([]byte) []byte {
		w := x.writer(honoured, false)
		return func(b []byte) []byte {
			b = append(w.appendContext(b, "/$entity"), ',')
			return append(w.appendMembers(b, &e.Record, w.Shape(&e.Record)), '}')
		}
	})
}

// alerts answers where the link to an incident's alerts leads.
func (x *Exchange) alerts(id string) {
	values, err := url.ParseQuery(x.Call.Query)
	from, bad := 0, (*refusal)(nil)
	if token := values.Get("$skiptoken"); token != "" && err == nil {
		from, bad = number("skiptoken", token, math.MaxInt)
	}
	if err != nil || bad != nil {
		x.malformed()
		return
	}
	x.lookUp(id, func(e *life.Entry) func([]byte) []byte {
		from, to := min(from, len(e.Alerts)), len(e.Alerts)
		if x.Rules.Alerts > 0 {
			to = min(to, from+x.Rules.Alerts)
		}
		return func(b []byte) []byte {
			b = append(b, `{"value":[`...)
			for i := from; i < to; i++ {
				if i > from {
					b = append(b, ',')
				}
				b = x.Face.Alert(b, &e.Record, &e.Alerts[i], x.prefers())
			}
			b = append(b, ']')
			if to < len(e.Alerts) {
				b = AppendMember(b, "@odata.nextLink", "", x.AlertsLink(e.ID, to))
			}
			return append(b, '}')
		}
	})
}

func (x *Exchange) malformed() {
	x.Refuse(http.StatusBadRequest, "BadRequest", "The query is malformed.")
}

// lookUp finds the incident and answers with what writes it, or why not.
func (x *Exchange) lookUp(id string, found func(*life.Entry) func([]byte) []byte) {
	n, err := strconv.ParseInt(id, 10, 64)
	e := x.Tenant.Find(n)
	switch {
	case x.Hooks.LookUp != nil && x.Hooks.LookUp(x, err != nil || e != nil):
	case err != nil:
		x.Refuse(http.StatusBadRequest, "BadRequest", "The incident id is not a number.")
	case e == nil:
		x.Refuse(http.StatusNotFound, "ResourceNotFound", fmt.Sprintf("Incident %d was not found.", n))
	default:
		x.Reply.Later(http.StatusOK, found(e))
	}
}
