package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"m365_defender_exporter/internal/incident"
)

// graphPage is the most that the API gives for one call.
const graphPage = 50

const graphPath = "/v1.0/security/incidents"

// graphHeader goes with every page, those of the server's own links too:
// without it the members that enums have got since read unknownFutureValue.
var graphHeader = http.Header{"Prefer": {"include-unknown-enum-members"}}

// Graph is the incidents API of Microsoft Graph. It is safe for concurrent use.
type Graph struct {
	wire
	decoder  decoder
	modes    modes
	expander expander
}

// NewGraph checks the settings; it makes no call.
func NewGraph(opts Options) (*Graph, error) {
	w, err := newWire(opts)
	if err != nil {
		return nil, err
	}
	return &Graph{
		wire:     w,
		decoder:  decoder{logger: w.opts.Logger, names: graphNames},
		expander: expander{logger: w.opts.Logger, top: graphPage},
	}, nil
}

// Incident looks one incident up by its id. An error that matches
// [ErrNotFound] says that it does not exist.
func (g *Graph) Incident(ctx context.Context, id int64, pass incident.Pass) (incident.Incident, error) {
	in, err := g.lookUp(ctx, id, pass, g.expander.delivers())
	if heavy(err) {
		if plain, err := g.lookUp(ctx, id, pass, false); err == nil {
			return plain, nil
		}
	}
	return in, absent(err)
}

func (g *Graph) lookUp(ctx context.Context, id int64, pass incident.Pass, alerts bool) (in incident.Incident, err error) {
	target := fmt.Sprintf("%s%s/%d", g.base, graphPath, id)
	if alerts {
		target += "?$expand=alerts"
	}
	err = g.call(ctx, inquiry{op: "get", pass: pass, target: target, header: graphHeader, read: func(body io.Reader) error {
		var listed bool
		in, listed, err = g.decoder.incident(body)
		in.AlertsUnknown = !listed
		return err
	}})
	return in, err
}

// Page reads one page. The pages of an answer go from the oldest last update
// to the newest, stretch by stretch of time: what changes meanwhile moves to
// the end, where it is read again, and shifts nothing that matters. Rows may
// come twice; none is left out silently.
func (g *Graph) Page(ctx context.Context, q incident.Query, c incident.Cursor) (incident.Page, error) {
	s := &stretch{q: q, c: c, was: g.modes.load(q)}
	s.how = s.was
	// Each round either brings the page, or takes a step down a short ladder.
	for {
		raw, as, err := g.fetch(ctx, s)
		var e *Error
		switch {
		case err == nil:
		case errors.As(err, &e) && s.c.Link != "" && (linkRefused(e) || heavy(e) && g.expander.delivers()):
			// The link may be too old, or ask for alerts that cannot be had.
			return incident.Page{}, &Error{
				Op: "list", Status: e.Status, Code: e.Code, Message: e.Message, Reason: e.FailureReason(),
				Until: e.Until, Err: incident.ErrCursorRefused,
			}
		case errors.As(err, &e) && e.Status == http.StatusBadRequest:
			if !s.degrade() {
				return incident.Page{}, s.hopeless(e)
			}
			continue
		default:
			return incident.Page{}, err
		}
		again, err := s.check(&raw)
		if err != nil {
			return incident.Page{}, err
		}
		if !again {
			return g.finish(s, as, &raw)
		}
	}
}

func linkRefused(e *Error) bool {
	return e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound || e.Status == http.StatusGone
}

// list makes the call for a page in this shape.
func (g *Graph) list(ctx context.Context, s *stretch, as shape) (raw rawPage, err error) {
	target, err := g.target(s, as)
	if err != nil {
		return raw, &Error{Op: "list", Err: err, Reason: "other"}
	}
	err = g.call(ctx, inquiry{
		op: "list", pass: s.q.Pass, target: target, header: graphHeader, once: as.trial,
		read: func(body io.Reader) (err error) {
			raw, err = g.decoder.page(body)
			return err
		},
	})
	return raw, err
}

// target is the address of a page.
func (g *Graph) target(s *stretch, as shape) (string, error) {
	if s.c.Link != "" {
		return g.follow(s.c.Link)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s?$top=%d", g.base, graphPath, as.top)
	if as.alerts {
		b.WriteString("&$expand=alerts")
	}
	if terms := s.terms(); len(terms) > 0 {
		b.WriteString("&$filter=" + strings.ReplaceAll(url.QueryEscape(strings.Join(terms, " and ")), "+", "%20"))
	}
	if !s.how.noOrder {
		b.WriteString("&$orderby=lastUpdateDateTime%20asc")
	}
	if s.c.Skip > 0 {
		b.WriteString("&$skip=" + strconv.Itoa(s.c.Skip))
	}
	return b.String(), nil
}

var graphStatus = map[incident.Status]string{
	incident.StatusActive:         "active",
	incident.StatusInProgress:     "inProgress",
	incident.StatusAwaitingAction: "awaitingAction",
	incident.StatusResolved:       "resolved",
	incident.StatusRedirected:     "redirected",
}

// finish makes a page of what was read, and remembers how.
func (g *Graph) finish(s *stretch, as shape, raw *rawPage) (incident.Page, error) {
	page := incident.Page{Unusable: raw.unusable, AlertsUnknown: !as.alerts}
	if s.c.Link != "" || as.alerts && len(raw.rows) > 0 {
		page.AlertsUnknown = raw.withoutAlerts(!g.expander.delivers())
	}
	var err error
	if page.Next, page.Last, err = s.next(raw, as.top); err != nil {
		return incident.Page{}, &Error{Op: "list", Err: err, Reason: "other"}
	}
	page.Incidents = s.wanted(raw, page.AlertsUnknown)
	g.modes.learn(s.q, s.how, g.opts.Logger)
	return page, nil
}

// withoutAlerts tells that the rows came without their alerts although some
// should have had them; where no row tells, otherwise is the answer.
func (p *rawPage) withoutAlerts(otherwise bool) bool {
	if p.lists > 0 {
		return false
	}
	for i := range p.rows {
		if in := &p.rows[i]; in.ID != 0 && in.Status != incident.StatusRedirected {
			return true
		}
	}
	return otherwise
}
