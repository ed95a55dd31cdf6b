package listing

import (
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/reason"
)

// A server may answer a request that carries an option which it does not take as if there
// were no rows. Where none was known, and none has come, the list is asked for without any
// option before that is believed.

// blank is that request.
type blank struct {
	asking bool // it is made next
	fails  int
	over   bool // there are no rows, or they cannot be asked for like that
}

// doubted tells that nothing has come, and that this is still to be believed.
func (l *Listing) doubted() bool {
	return l.Blank && l.Largest == 0 && l.Latest == 0 && !l.blank.over
}

// unblank takes in the answer. A list that has rows which should have come is not read; if
// they should have come by their status, that is not taken.
func (l *Listing) unblank(req *Request, page *Page, now time.Time) *Error {
	l.blank = blank{over: true}
	switch {
	case !l.belongs(page.Rows):
	case l.Last().Status != incident.StatusUnknown:
		l.server.Refuse(OptionStatus, now)
		for i := range l.Whole {
			l.Unread |= 1 << l.Whole[i].Status
		}
	default:
		return &Error{Operation: OperationList, Request: *req, Reason: reason.Incomplete, Err: errEmptied}
	}
	return nil
}

// blankFailed is called when the request has failed. Nothing speaks against an empty list
// then, unless it has passed in a moment.
func (l *Listing) blankFailed(err *Error) Verdict {
	const enough = 3
	l.blank.asking = false
	l.blank.fails++
	if refused, _ := classify(err); refused || err.Location != "" || l.blank.fails >= enough {
		l.blank.over = true
		return RetryNow
	}
	return passing(err)
}

// belongs tells whether one of the rows was among those to be read when the listing began.
func (l *Listing) belongs(rows []incident.Incident) bool {
	for i := range rows {
		in := &rows[i]
		if in.ID == 0 || in.Updated.After(l.Started) {
			continue
		}
		for j := range l.Whole {
			if r := &l.Whole[j]; (in.Updated.IsZero() || r.holds(in.Updated)) && (r.Status == incident.StatusUnknown || r.Status == in.Status) {
				return true
			}
		}
	}
	return false
}
