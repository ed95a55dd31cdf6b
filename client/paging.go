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
	"time"

	"m365_defender_exporter/internal/incident"
)

// pageSize is the most that the API gives for one call.
const pageSize = 100

// tick is the resolution of the API's clock.
const tick = 100 * time.Nanosecond

// Page reads one page, newest last update first. A page continues from the
// last update of the one before, so that what changes meanwhile shifts nothing.
func (d *Defender) Page(ctx context.Context, q incident.Query, c incident.Cursor) (incident.Page, error) {
	// Each round either brings the page, or takes a step down a short ladder.
	for {
		how := d.ability.load()
		c = how.adapt(c)
		target, err := d.target(q, c, how)
		if err != nil {
			return incident.Page{}, err
		}
		var raw rawPage
		err = d.call(ctx, "list", q.Pass, target, func(body io.Reader) (err error) {
			raw, err = d.decoder.page(body)
			return err
		})
		var e *Error
		switch {
		case errors.As(err, &e) && e.Status == http.StatusBadRequest:
			if retry, err := d.degrade(q, c, how, e); !retry {
				return incident.Page{}, err
			}
			continue
		case err != nil:
			return incident.Page{}, err
		}
		next, err := d.check(q, c, how, &raw)
		if err != nil {
			return incident.Page{}, err
		}
		if next != nil {
			c = *next
			continue
		}
		return d.finish(q, c, &raw), nil
	}
}

// target is the address of a page.
func (d *Defender) target(q incident.Query, c incident.Cursor, how paging) (string, error) {
	if how.links && c.Link != "" {
		return d.follow(c.Link)
	}
	var terms []string
	if !q.Since.IsZero() && !how.noSince {
		terms = append(terms, "lastUpdateTime ge "+formatTime(q.Since))
	}
	if q.Status != incident.StatusUnknown {
		terms = append(terms, "status eq '"+wireStatus[q.Status]+"'")
	}
	if !c.Border.IsZero() {
		if how.op == borderLt {
			terms = append(terms, "lastUpdateTime lt "+formatTime(c.Border.Add(tick)))
		} else {
			terms = append(terms, "lastUpdateTime le "+formatTime(c.Border))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s/api/incidents?$top=%d", d.base, pageSize)
	if len(terms) > 0 {
		b.WriteString("&$filter=" + strings.ReplaceAll(url.QueryEscape(strings.Join(terms, " and ")), "+", "%20"))
	}
	if c.Skip > 0 {
		b.WriteString("&$skip=" + strconv.Itoa(c.Skip))
	}
	return b.String(), nil
}

var wireStatus = map[incident.Status]string{
	incident.StatusActive:         "Active",
	incident.StatusInProgress:     "InProgress",
	incident.StatusAwaitingAction: "AwaitingAction",
	incident.StatusResolved:       "Resolved",
	incident.StatusRedirected:     "Redirected",
}

// follow resolves the server's own link, to itself only.
func (d *Defender) follow(link string) (string, error) {
	u, err := d.base.Parse(link)
	if err != nil || u.Scheme != d.base.Scheme || u.Host != d.base.Host {
		return "", &Error{Op: "list", Err: errForeignHost, reason: "other"}
	}
	return u.String(), nil
}

// check compares the rows with the filter that was sent: a server that ignores
// an operator is treated as one that refuses it. If the page is of no use as
// it is, it returns the cursor to ask with instead.
func (d *Defender) check(q incident.Query, c incident.Cursor, how paging, raw *rawPage) (*incident.Cursor, error) {
	newer, other := 0, 0
	for i := range raw.rows {
		in := &raw.rows[i]
		if !c.Border.IsZero() && in.Updated.After(c.Border) {
			newer++
		}
		// A value that nobody knows may well be a new name for the status.
		if in.Status != q.Status && in.Unrecognized&incident.FieldStatus == 0 {
			other++
		}
	}
	switch n := len(raw.rows); {
	case q.Status != incident.StatusUnknown && other*4 > n && !(how.links && c.Link != ""):
		return nil, &Error{Op: "list", Err: incident.ErrFilterRefused, reason: "other"}
	case newer*2 > n:
		d.ability.lower(d.opts.Logger, "The server ignores an upper bound of lastUpdateTime, paging by $skip", func(p *paging) { p.op = borderNone })
		return &c, nil
	case !c.Border.IsZero():
		d.ability.change(func(p *paging) { p.opWorked = true })
	}
	return d.checkAnchor(c, raw), nil
}

// checkAnchor makes sure that the page begins where the one before ended.
func (d *Defender) checkAnchor(c incident.Cursor, raw *rawPage) *incident.Cursor {
	if c.Anchor == 0 {
		return nil
	}
	found := -1
	for i := range raw.rows {
		if raw.rows[i].ID == c.Anchor {
			found = i
			break
		}
	}
	switch {
	case c.Border.IsZero() && found < 0 && c.Skip > 0:
		// Rows have left the list: what was next is now before this page.
		c.Skip = max(0, c.Skip-pageSize/2)
		c.Steps++
		if c.Steps > maxSteps {
			c.Anchor = 0
		}
		return &c
	case c.Border.IsZero():
		return nil
	case found == 0:
		d.ability.change(func(p *paging) { p.exactness = exact })
		return nil
	}
	d.ability.lower(d.opts.Logger, "A border of pages was not exact, pages overlap by a second from now on", func(p *paging) { p.exactness = slack })
	return &incident.Cursor{Border: c.Border.Add(slackTime), Seen: c.Seen, Link: c.Link}
}

// maxSteps bounds the search for the place where a page ended.
const maxSteps = 3

// degrade decides what a 400 was about. It is true if there is another way to
// ask.
func (d *Defender) degrade(q incident.Query, c incident.Cursor, how paging, e *Error) (retry bool, err error) {
	switch {
	case how.links && c.Link != "":
	case !c.Border.IsZero() && !how.opWorked && how.op == borderLe:
		d.ability.lower(d.opts.Logger, "The server refuses lastUpdateTime le, trying lt", func(p *paging) { p.op = borderLt })
		return true, nil
	case !c.Border.IsZero() && !how.opWorked:
		d.ability.lower(d.opts.Logger, "The server refuses an upper bound of lastUpdateTime, paging by $skip", func(p *paging) { p.op = borderNone })
		return true, nil
	case c.Skip > 0 && c.Border.IsZero() && c.Link != "":
		d.ability.lower(d.opts.Logger, "The server refuses $skip, following its links", func(p *paging) { p.links = true })
		return true, nil
	case c.Skip > 0:
	case q.Status != incident.StatusUnknown:
		e.Err = incident.ErrFilterRefused
		return false, e
	case !q.Since.IsZero() && !how.noSince:
		d.ability.lower(d.opts.Logger, "The server refuses lastUpdateTime ge, reading from the newest down", func(p *paging) { p.noSince = true })
		return true, nil
	default:
		return false, e
	}
	e.reason, e.Err = "other", errIncomplete
	return false, e
}

var errIncomplete = errors.New("the server allows no complete reading: neither time bounds nor skipping nor its links lead on")

// finish makes a page of what was read.
func (d *Defender) finish(q incident.Query, c incident.Cursor, raw *rawPage) incident.Page {
	how := d.ability.load()
	linked := how.links && c.Link != ""
	page := incident.Page{Unusable: raw.unusable, Next: how.next(c, raw)}
	for _, in := range raw.rows {
		switch {
		case in.ID == c.Anchor:
		// An older row is there only if the lower bound is not kept. The order
		// says that nothing newer follows.
		case !in.Updated.IsZero() && in.Updated.Before(q.Since.Truncate(tick)):
			page.Last = true
		// The server's link may have lost the filter.
		case linked && q.Status != incident.StatusUnknown && in.Status != q.Status:
		default:
			page.Incidents = append(page.Incidents, in)
		}
	}
	full := raw.len() >= pageSize
	if c.Short && len(page.Incidents) == 0 {
		// A link on a short page led nowhere: that is just this server's way.
		d.ability.change(func(p *paging) { p.linkNoise = true })
	}
	switch {
	case raw.len() == 0, linked && raw.nextLink == "":
		page.Last = true
	case !full:
		page.Last = page.Last || raw.nextLink == "" || d.ability.load().linkNoise
		page.Next.Short = true
	}
	return page
}
