package faults

import (
	"bytes"
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
	"m365_defender_exporter/internal/simulator/wire"
)

// Pages are how rows are spread over pages.
type Pages struct {
	// Cap is the most rows of a page, whatever was asked for; 0: none. Ragged
	// pages have a number of rows between one and what was asked for.
	Cap    int
	Ragged bool
	// Empty puts an empty page with a link before every page that has rows. The
	// link has a token, whatever the shape of others is. There are none where
	// Links.None is set, since they would lead nowhere.
	Empty bool
}

// size is the number of rows of a page.
func (p *Pages) size(q *odata.Query, seed uint64) int {
	size := q.Top
	if p.Cap > 0 {
		size = min(size, p.Cap)
	}
	if p.Ragged && size > 1 {
		size = 1 + int(life.Spread(seed^uint64(q.Skip)+uint64(len(q.Filter)))%uint64(size))
	}
	return size
}

// LinkShape is what a link to the next page looks like.
type LinkShape int

// The shapes.
const (
	// LinkUsual is LinkLossy for the native API and LinkOpaque for Graph.
	LinkUsual LinkShape = iota
	// LinkLossy is as odata.LossyLink has it.
	LinkLossy
	// LinkFull repeats the query, escaped.
	LinkFull
	// LinkOpaque is as odata.OpaqueLink has it.
	LinkOpaque
)

// Links are what is wrong with the links to next pages. None comes before
// Always, and an empty page's link (see Pages) is spared by Shape and Cycle.
type Links struct {
	// None leaves them out, as in the documented example. Always puts one on
	// every page, the last one too.
	None, Always bool
	Shape        LinkShape
	// Cycle 1 lets every link lead to its own page, 2 the first page's to the
	// second and all others' back to the first.
	Cycle int
	// Host is the scheme and host of links, for example [Foreign]. PlainHTTP
	// makes the scheme http.
	Host      string
	PlainHTTP bool
}

// Heavy are pages that are too much for the service because of their size.
type Heavy struct {
	// Top is the most rows that may be asked for; 0: no page is too heavy. A
	// request that does not say how many asks for a full page.
	Top int
	// Status is the answer, 0: 504. Hang does not answer at all.
	Status int
	Hang   bool
	// WithAlerts spares pages whose rows have no alerts, those of Graph without
	// $expand.
	WithAlerts bool
}

// Poison is an incident that no page can hold: 500 is the answer instead. It is
// found by its id as ever.
type Poison struct {
	// ID of the incident, or else Nth: the n-th newest by its last update when
	// the first list is asked for, the newest being 1.
	ID     int64
	Nth    int
	Status int // 0: 500
	// WithAlerts spares pages whose rows have no alerts.
	WithAlerts bool
}

// Partial are answers of the list that do not hold all that they should. What
// is set combines; where nothing is, answers are whole.
type Partial struct {
	// Share is the chance of a page to be hit; 0 means 1. Count ends it after so
	// many hits; 0: never.
	Share float64
	Count int

	// Status206 is the status, Warning a header of that name, and Error a member
	// error beside value.
	Status206, Warning, Error bool
	// Missing is the share of the page's rows that are left out, from its end;
	// 1 leaves {"value":[]}. The next page goes on behind them.
	Missing float64
	// NoValue leaves out the member value, NullValue makes it null. NoValue
	// comes first.
	NoValue, NullValue bool
}

// partialWarning is as Microsoft documents it for the security API: which
// provider did not answer, and with what.
const partialWarning = `199 - "Microsoft Defender XDR/simulated/504/10000", 199 - "simulated/provider/504/10000"`

func (p *Partial) set() bool {
	return p.Status206 || p.Warning || p.Error || p.Missing > 0 || p.NoValue || p.NullValue
}

// Flood is what a client has to keep or to throw away: little on the wire where
// it is compressed, much in memory.
type Flood struct {
	// Rows are so many rows 1 behind the others of a page, Alerts so many alerts
	// 1 instead of those of its first row.
	Rows, Alerts int
}

// list answers a query that is taken.
func (m *Misbehaviour) list(x *odata.Exchange, q *odata.Query) {
	f, l := &m.faults, x.Reply.Line.(*line)
	if h := &f.Heavy; h.Top > 0 && q.Top > h.Top && (!h.WithAlerts || x.Face.ShowsAlerts(q.Expand)) {
		l.hang = h.Hang
		x.RefuseStatus(cmp.Or(h.Status, http.StatusGatewayTimeout))
		return
	}
	p := &page{Page: x.Page(q, f.Pages.size(q, m.Options.Seed)), hit: &l.hit, odd: f.OddRows}
	x.Reply.Later(http.StatusOK, p.write)
	if f.Pages.Empty && !q.AfterGap && !f.Links.None && len(p.Rows) > 0 {
		gap := *q
		gap.AfterGap = true
		p.Rows, p.Next = nil, f.Links.base(x.Call)+odata.OpaqueLink(x.Face.Path, &gap)
		return
	}
	if m.poisons(p.Page) {
		x.RefuseStatus(cmp.Or(f.Poison.Status, http.StatusInternalServerError))
		return
	}
	p.Next = f.Links.next(x, q, p.Page)
	if f.Partial.set() && m.strike(f.Partial.Share, &f.Partial.Count) {
		p.cut(f.Partial, x.Reply)
	}
}

// poisons tells whether the poisoned incident is among the rows.
func (m *Misbehaviour) poisons(page *odata.Page) bool {
	p := &m.faults.Poison
	if p.WithAlerts && !page.Expand || p.ID == 0 && p.Nth <= 0 {
		return false
	}
	if order := m.Index.Sorted(); p.ID == 0 {
		if p.Nth > len(order) {
			return false
		}
		p.ID = order[len(order)-p.Nth].ID
	}
	return slices.ContainsFunc(page.Rows, func(e *life.Entry) bool { return e.ID == p.ID })
}

// next is the link to the page after p, which q asked for; empty: none.
func (l *Links) next(x *odata.Exchange, q *odata.Query, p *odata.Page) string {
	if l.None || !p.More && !l.Always && (l.Cycle != 2 || q.Skip == 0) {
		return ""
	}
	to := *q
	to.Skip, to.AfterGap = q.Skip+len(p.Rows), false
	switch {
	case l.Cycle == 1:
		to.Skip, to.AfterGap = q.Skip, q.AfterGap
	case l.Cycle == 2 && q.Skip > 0:
		to.Skip = 0
	}
	link := map[LinkShape]func(string, *odata.Query) string{
		LinkUsual: x.Face.Link, LinkLossy: odata.LossyLink, LinkFull: fullLink, LinkOpaque: odata.OpaqueLink,
	}[l.Shape]
	return l.base(x.Call) + link(x.Face.Path, &to)
}

func (l *Links) base(c *wire.Call) string {
	base := cmp.Or(l.Host, c.Base)
	if host, ok := strings.CutPrefix(base, "https://"); ok && l.PlainHTTP {
		base = "http://" + host
	}
	return base
}

// fullLink repeats the query, escaped.
func fullLink(path string, q *odata.Query) string {
	link := path + "?"
	for _, option := range []struct {
		name, value string
		has         bool
	}{
		{"filter", q.Filter, q.Filter != ""},
		{"orderby", q.OrderBy, q.OrderBy != ""},
		{"expand", "alerts", q.Expand},
		{"count", "true", q.Count},
		{"top", strconv.Itoa(q.Top), q.HasTop},
	} {
		if option.has {
			link += "%24" + option.name + "=" + url.QueryEscape(option.value) + "&"
		}
	}
	return link + "%24skip=" + strconv.Itoa(q.Skip)
}

// page is one that is written with what is wrong with it.
type page struct {
	*odata.Page
	hit     *Faults
	odd     bool
	partial Partial
}

// cut makes the page partial.
func (p *page) cut(partial Partial, rep *wire.Reply) {
	p.partial = partial
	if partial.Status206 {
		rep.Status = http.StatusPartialContent
	}
	if partial.Warning {
		rep.Header.Set("Warning", partialWarning)
	}
	n := len(p.Rows)
	p.Rows = p.Rows[:max(0, min(n-int(float64(n)*partial.Missing+0.5), n))]
}

func (p *page) write(b []byte) []byte {
	flood := p.hit.Flood
	b = p.AppendHead(slices.Grow(b, p.hit.Padding+2*(flood.Rows+flood.Alerts)))
	if p.hit.Padding > 0 {
		b = append(b, `,"padding":"`...)
		b = append(b, bytes.Repeat([]byte{'x'}, p.hit.Padding)...)
		b = append(b, '"')
	}
	if p.partial.Error {
		b = append(b, `,"error":{"code":"GatewayTimeout","message":"One of the providers did not answer in time."}`...)
	}
	switch {
	case p.partial.NoValue:
	case p.partial.NullValue:
		b = append(b, `,"value":null`...)
	default:
		n := len(p.Rows) + min(flood.Rows, 1)
		b = odata.AppendList(b, "value", "", n, func(b []byte, i int) []byte {
			if i == len(p.Rows) {
				return append(b, ones(flood.Rows)...)
			}
			return p.writeRow(b, i)
		})
	}
	return p.AppendTail(b)
}

func (p *page) writeRow(b []byte, i int) []byte {
	r := &p.Rows[i].Record
	s := p.Shape(r)
	if i == 0 && p.hit.Flood.Alerts > 0 {
		s.Alerts = "[" + ones(p.hit.Flood.Alerts) + "]"
	}
	b = p.AppendRow(b, r, s)
	if p.odd && i == len(p.Rows)/2 {
		ghost := r.Clone()
		ghost.Status, ghost.Severity = life.Active, "High"
		b = p.AppendRow(append(b, `,"this row is not an incident",`...), &ghost, odata.Shape{NoID: true})
	}
	return b
}

func ones(n int) string { return strings.TrimSuffix(strings.Repeat("1,", n), ",") }
