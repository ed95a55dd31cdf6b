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

// asking is one page being asked for, in one way after another.
type asking struct {
	q   incident.Query
	c   incident.Cursor
	how paging
	// follow: this page is had from the server's link.
	follow bool
	// bound: the cursor's border is part of the filter.
	bound bool
	skip  int
	// after is the last update of the row that the page before ended with, where
	// pages are read by position; zero if it is not known.
	after time.Time
	// steps back that were taken to find the end of the page before.
	steps int
	// widened: the border was not met exactly, and the page is read with slack.
	widened bool
}

// Page reads one page, newest last update first. A page continues from the
// last update of the one before, so that what changes meanwhile shifts nothing.
// Rows may come twice; none is left out silently.
func (d *Defender) Page(ctx context.Context, q incident.Query, c incident.Cursor) (incident.Page, error) {
	a := &asking{q: q, c: c, how: d.ability.load()}
	a.after = c.Border
	if c.Border.IsZero() {
		a.after = d.ability.placeOf(c.Anchor)
	}
	a.plan()
	// Each round either brings the page, or takes a step down a short ladder.
	for {
		target, err := d.target(a)
		if err != nil {
			return incident.Page{}, err
		}
		var raw rawPage
		err = d.call(ctx, inquiry{op: "list", pass: q.Pass, target: target, read: func(body io.Reader) (err error) {
			raw, err = d.decoder.page(body)
			return err
		}})
		var e *Error
		switch {
		case errors.As(err, &e) && e.Status == http.StatusBadRequest:
			if !a.degrade() {
				return incident.Page{}, a.hopeless(e)
			}
			continue
		case err != nil:
			return incident.Page{}, err
		}
		again, err := a.check(&raw)
		if err != nil {
			return incident.Page{}, err
		}
		if !again {
			return d.finish(a, &raw)
		}
	}
}

// plan settles how the cursor is put into a request.
func (a *asking) plan() {
	a.follow = a.c.Link != "" && (a.follow || a.how.links && a.how.op == borderNone)
	a.bound = !a.follow && !a.c.Border.IsZero() && a.how.op != borderNone
	a.skip = a.c.Skip
	switch {
	case a.follow:
	case !a.bound && !a.c.Border.IsZero():
		// The cursor was made with borders in mind.
		a.skip = max(0, a.c.Seen-1)
	case a.bound && a.how.noSkip && a.skip < pageSize:
		a.skip = 0
	}
	if !a.bound && a.steps > 0 {
		a.skip = max(0, a.skip-(pageSize/2)<<min(a.steps-1, 40))
	}
}

// target is the address of a page.
func (d *Defender) target(a *asking) (string, error) {
	if a.follow {
		target, err := d.follow(a.c.Link)
		if err != nil {
			return "", &Error{Op: "list", Err: err, Reason: "other"}
		}
		return target, nil
	}
	var terms []string
	if !a.q.Since.IsZero() && !a.how.noSince {
		terms = append(terms, "lastUpdateTime ge "+formatTime(a.q.Since))
	}
	if a.q.Status != incident.StatusUnknown {
		terms = append(terms, "status eq '"+wireStatus[a.q.Status]+"'")
	}
	switch {
	case a.bound && a.how.op == borderLt:
		terms = append(terms, "lastUpdateTime lt "+formatTime(a.c.Border.Add(tick)))
	case a.bound:
		terms = append(terms, "lastUpdateTime le "+formatTime(a.c.Border))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s/api/incidents?$top=%d", d.base, pageSize)
	if len(terms) > 0 {
		b.WriteString("&$filter=" + strings.ReplaceAll(url.QueryEscape(strings.Join(terms, " and ")), "+", "%20"))
	}
	if a.skip > 0 {
		b.WriteString("&$skip=" + strconv.Itoa(a.skip))
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

// degrade decides what a 400 was about. It is true if there is another way to
// ask.
func (a *asking) degrade() bool {
	switch {
	case a.follow:
		return false
	case a.bound && a.skip > 0 && a.skip < pageSize && !a.how.noSkip:
		// Rows of the border's instant come once more, which costs little.
		a.how.noSkip = true
	case a.bound && (a.skip == 0 || !a.how.opWorked):
		a.lower()
	case a.skip > 0 && a.c.Link != "":
		a.follow, a.how.links = true, a.how.links || a.how.op == borderNone
	case a.bound || a.skip > 0 || a.q.Status != incident.StatusUnknown || a.q.Since.IsZero() || a.how.noSince:
		return false
	default:
		a.how.noSince = true
	}
	a.plan()
	return true
}

// lower goes on to the next weaker form of a border. It may still be that
// $skip works with that one.
func (a *asking) lower() {
	a.how.op++
	a.how.opWorked, a.how.noSkip = false, false
}

var errIncomplete = errors.New("the server allows no complete reading: neither time bounds nor skipping nor its links lead on")

// hopeless makes an error of a 400 that nothing helps against.
func (a *asking) hopeless(e *Error) error {
	switch {
	case a.follow || a.bound || a.skip > 0:
		e.Reason, e.Err = "other", errIncomplete
	case a.q.Status != incident.StatusUnknown:
		e.Reason, e.Err = "other", ErrFilterRefused
	}
	return e
}

// check compares the rows with the filter that was sent: a server that ignores
// an operator is treated as one that refuses it. It is true if the page is of
// no use and another way was found to ask.
func (a *asking) check(raw *rawPage) (again bool, err error) {
	usable, newer, other := 0, 0, 0
	for i := range raw.rows {
		in := &raw.rows[i]
		if in.ID == 0 {
			continue
		}
		usable++
		if a.bound && in.Updated.After(a.c.Border) {
			newer++
		}
		// A row without a status, or with one that nobody knows, proves nothing.
		if in.Status != a.q.Status && in.Status != incident.StatusUnknown {
			other++
		}
	}
	switch {
	case a.q.Status != incident.StatusUnknown && !a.follow && other*4 > usable:
		return false, &Error{Op: "list", Err: ErrFilterRefused, Reason: "other"}
	case newer*2 > usable:
		a.lower()
		a.plan()
		return true, nil
	case a.bound:
		a.how.opWorked = true
		return a.checkBorder(raw), nil
	}
	return a.checkPosition(raw), nil
}

// checkBorder makes sure that the page begins where the one before ended. If
// it does not, either times are stored more precisely than shown, or the row
// has moved away meanwhile; the page with slack tells which.
func (a *asking) checkBorder(raw *rawPage) (again bool) {
	if a.c.Anchor == 0 || a.how.exactness != unproven {
		return false
	}
	found := raw.index(a.c.Anchor)
	switch {
	case a.widened:
		if found >= 0 && !raw.rows[found].Updated.After(a.after) {
			a.how.exactness = slack
		}
		return false
	case found == 0 || found > 0 && a.how.noSkip:
		a.how.exactness = exact
		return false
	}
	a.widened = true
	a.c.Border, a.c.Skip = a.c.Border.Add(slackTime), 0
	a.plan()
	return true
}

// checkPosition makes sure that a page read by $skip joins on to the one
// before: it holds the row that that ended with, or begins with a newer one.
// Otherwise rows have left the list, and what was next is now before this page.
func (a *asking) checkPosition(raw *rawPage) (again bool) {
	unknown := a.c.Anchor == 0 && a.after.IsZero()
	if a.follow || a.skip == 0 || unknown || raw.index(a.c.Anchor) >= 0 {
		return false
	}
	for i := range raw.rows {
		if at := raw.rows[i].Updated; !at.IsZero() {
			if !a.after.IsZero() && at.After(a.after) {
				return false
			}
			break
		}
	}
	a.steps++
	a.plan()
	return true
}
