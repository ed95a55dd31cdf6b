package odata

import (
	"slices"
	"strconv"
	"strings"

	"m365_defender_exporter/internal/simulator/life"
)

// Page is a list answer that was decided on, to be written without the lock.
type Page struct {
	Rows []*life.Entry
	// More is whether there are rows behind them, Next the link there.
	More bool
	Next string
	// Count is @odata.count, unless empty.
	Count string

	Writer
}

// Page is the page that a query asks for, of the given size.
func (x *Exchange) Page(q *Query, size int) *Page {
	p := &Page{Writer: x.writer(q.Expand, true)}
	var total int
	p.Rows, p.More, total = x.find(q, size)
	if q.Count {
		p.Count = strconv.Itoa(total)
	}
	return p
}

// Append writes the page.
func (p *Page) Append(b []byte) []byte {
	b = AppendList(p.AppendHead(b), "value", "", len(p.Rows), func(b []byte, i int) []byte {
		r := &p.Rows[i].Record
		return p.AppendRow(b, r, p.Shape(r))
	})
	return p.AppendTail(b)
}

// AppendHead writes what is before the rows.
func (p *Page) AppendHead(b []byte) []byte {
	n := 1024
	for _, e := range p.Rows {
		n += 700
		for i := range e.Alerts {
			n += 1400 + 1000*int(e.Alerts[i].Entities) + 500*int(e.Alerts[i].Devices)
		}
	}
	b = p.appendContext(slices.Grow(b, n), "")
	if p.Count != "" {
		b = append(b, `,"@odata.count":`+p.Count...)
	}
	return b
}

// AppendTail writes what is behind the rows.
func (p *Page) AppendTail(b []byte) []byte {
	if p.Next != "" {
		b = AppendMember(b, "@odata.nextLink", "", p.Next)
	}
	return append(b, '}')
}

// Writer writes the rows of an answer as was settled when it was decided on.
type Writer struct {
	// Expand: rows have alerts.
	Expand bool

	x              *Exchange
	prefer, listed bool
	hook           func(*Exchange, *life.Record, bool) Shape
}

// writer is for rows of a list or of a call by id.
func (x *Exchange) writer(expand, listed bool) Writer {
	return Writer{x.Face.ShowsAlerts(expand), x, x.prefers(), listed, x.Hooks.Shape}
}

func (x *Exchange) prefers() bool {
	return strings.Contains(x.Call.Header.Get("Prefer"), "include-unknown-enum-members")
}

// Shape is that of a row.
func (w *Writer) Shape(r *life.Record) (s Shape) {
	if w.hook != nil {
		s = w.hook(w.x, r, w.listed)
	}
	return s
}

// AppendRow writes a row in a shape.
func (w *Writer) AppendRow(b []byte, r *life.Record, s Shape) []byte {
	return append(w.appendMembers(append(b, '{'), r, s), '}')
}

func (w *Writer) appendMembers(b []byte, r *life.Record, s Shape) []byte {
	s.Expand, s.Prefer = w.Expand, w.prefer
	return w.x.Face.Incident(b, r, &s)
}

// appendContext begins an answer of that type.
func (w *Writer) appendContext(b []byte, what string) []byte {
	b = append(b, `{"@odata.context":`...)
	return AppendText(b, w.x.Call.Base+w.x.Face.Context+what)
}
