package listing

import (
	"cmp"
	"time"

	"m365_defender_exporter/internal/incident"
)

// Option is a part of a request that a server may fail to take.
type Option uint8

// The options.
const (
	OptionOrder Option = iota
	OptionUpperBound
	OptionLowerBound
	OptionStatus
	OptionAlerts
	OptionPageSize
	OptionCount
	OptionSkip
	NumOptions = int(iota)
)

var optionNames = [NumOptions]string{"order", "upper_bound", "lower_bound", "status", "alerts", "page_size", "count", "skip"}

// String is the label value.
func (o Option) String() string { return optionNames[o] }

// longAgo is before all that is kept of incidents: to refuse bounds that are so old takes
// nothing away.
const longAgo = 10 * 365 * 24 * time.Hour

// How long something is left out that failed, at first and at most.
const (
	firstWait   = time.Minute // larger pages, and alerts
	longestWait = time.Hour
	probeAfter  = 24 * time.Hour // options: to try one costs a few calls
)

// pause is how long something is left out that the server did not take: twice as
// long each time.
type pause struct {
	Until time.Time     `json:"until,omitzero"`
	Wait  time.Duration `json:"wait,omitempty"`
}

func (p *pause) over(now time.Time) bool { return !now.Before(p.Until) }

func (p *pause) extend(now time.Time, first, longest time.Duration) {
	p.Wait = min(max(2*p.Wait, first), longest)
	p.Until = now.Add(p.Wait)
}

func (p *pause) clamp(now time.Time) {
	if latest := now.Add(max(p.Wait, probeAfter)); p.Until.After(latest) {
		p.Until = latest
	}
}

// Server is what the server of a tenant was seen to take and to do. All listings
// of the tenant share it, in one goroutine. It is a plain value that can be
// saved.
type Server struct {
	offer   Offer
	outages int // in a row: nothing at all was answered
	// Refused are the options that are left out, Statuses those that are refused
	// although others are not.
	Refused  [NumOptions]pause           `json:"refused"`
	Statuses [incident.NumStatuses]pause `json:"statuses"`
	// Bound is the operator that works for upper bounds.
	Bound Bound `json:"bound,omitempty"`
	// OldBound is the age from which on lower bounds are refused; 0: none is.
	OldBound time.Duration `json:"old_bound,omitempty"`
	Old      pause         `json:"old"`
	// Unsorted: rows come in another order than that of their last update.
	Unsorted bool `json:"unsorted,omitempty"`
	// PageOrder: each page is sorted, but not the list.
	PageOrder pause `json:"page_order"`
	// Direction is the order in which rows were last seen to come without being
	// asked for any.
	Direction Order `json:"direction,omitempty"`

	// Top is the page size in use, 0: what the API offers. Grow is when a larger one
	// is tried.
	Top  int   `json:"top,omitempty"`
	Grow pause `json:"grow"`
	// Further is until when alerts that are not on the page of their row are left out.
	Further pause `json:"further"`

	// PageMax is the most rows that the server puts on a page although more were
	// asked for and exist; 0: as many as asked for. ShortPages: pages end early for
	// no reason that can be seen. NoticedAt is when that, or something about links, was
	// noticed.
	PageMax    int       `json:"page_max,omitempty"`
	ShortPages bool      `json:"short_pages,omitempty"`
	NoticedAt  time.Time `json:"noticed_at,omitzero"`
	// FullPages: a page with as many rows as asked for was seen. LinkNoise: a link
	// led to nothing. EmptyPages: the link of a page without rows led to some.
	// LostLinks: links lead to rows that were not asked for. DirectRows: rows come
	// without a link. Counts: it has counted more rows than are on a page.
	FullPages  bool `json:"full_pages,omitempty"`
	Counts     bool `json:"counts,omitempty"`
	LinkNoise  bool `json:"link_noise,omitempty"`
	EmptyPages bool `json:"empty_pages,omitempty"`
	LostLinks  bool `json:"lost_links,omitempty"`
	DirectRows bool `json:"direct_rows,omitempty"`

	// Coarse: bounds were seen to leave out rows of the seconds that were asked for, in a
	// scan, or the reader has seen that it lasts. Deltas then do without them, too.
	Coarse bool `json:"coarse,omitempty"`
	// DoubtedAt is when what is left out was last tried again because the list
	// could not be read without.
	DoubtedAt time.Time `json:"doubted_at,omitzero"`
}

// NewServer returns what is assumed of a server that nothing is known of yet.
func NewServer(offer Offer) *Server {
	return &Server{offer: offer}
}

// Resume takes over what was saved of the same server. A page size that the API
// does not offer is left out, and nothing is left out for longer than if it had just
// failed: the clock may have been wrong.
func (s *Server) Resume(saved *Server, now time.Time) {
	offer := s.offer
	*s = *saved
	s.offer = offer
	for i := range s.Refused {
		s.Refused[i].clamp(now)
	}
	for i := range s.Statuses {
		s.Statuses[i].clamp(now)
	}
	s.Old.clamp(now)
	s.Grow.clamp(now)
	s.Further.clamp(now)
	s.PageOrder.clamp(now)
	s.DoubtedAt, s.NoticedAt = earlier(s.DoubtedAt, now), earlier(s.NoticedAt, now)
	if s.Top > offer.MaxTop || s.Top < 0 {
		s.Top = 0
	}
}

// Takes tells whether requests carry an option at present.
func (s *Server) Takes(o Option, now time.Time) bool {
	switch {
	case o == OptionOrder && !s.offer.Order, o == OptionCount && !s.offer.Count, o == OptionSkip && !s.offer.Skip:
		return false
	}
	return s.Refused[o].over(now)
}

// Unsupported tells whether the server was seen not to take an option; one
// that it does not even offer is not meant.
func (s *Server) Unsupported(o Option) bool {
	smaller := s.Top > 0 || s.PageMax > 0 || s.ShortPages
	return s.Refused[o].Wait > 0 || o == OptionPageSize && smaller || o == OptionLowerBound && s.OldBound > 0 && s.OldBound < longAgo
}

// TakesStatus tells whether the server selects by this status.
func (s *Server) TakesStatus(status incident.Status, now time.Time) bool {
	return s.Takes(OptionStatus, now) && s.Statuses[status].over(now)
}

// TakesSince tells whether a lower bound may be sent.
func (s *Server) TakesSince(since, now time.Time) bool {
	return s.Takes(OptionLowerBound, now) && (s.OldBound == 0 || now.Sub(since) < s.OldBound || s.Old.over(now))
}

// Refuse leaves an option out from now on: the server was seen not to take it.
func (s *Server) Refuse(o Option, now time.Time) {
	if o == OptionAlerts {
		s.Refused[o].extend(now, firstWait, longestWait)
		return
	}
	s.Refused[o].extend(now, probeAfter, probeAfter)
}

// suspend leaves options out for an hour, and tells whether one of them was not yet.
func (s *Server) suspend(now time.Time, options ...Option) (some bool) {
	for _, o := range options {
		some = some || s.Takes(o, now)
		s.Refused[o].extend(now, longestWait, longestWait)
	}
	return some
}

// Renew is called before a listing begins: that pages are smaller than was asked for, and
// that links lead to nothing, is found out again after a day.
func (s *Server) Renew(now time.Time) {
	switch {
	case s.PageMax == 0 && !s.ShortPages && !s.LinkNoise && !s.LostLinks:
		s.NoticedAt = time.Time{}
	case s.NoticedAt.IsZero():
		s.NoticedAt = now
	case now.Sub(s.NoticedAt) >= probeAfter:
		s.PageMax, s.ShortPages, s.NoticedAt = 0, false, time.Time{}
		s.LinkNoise, s.LostLinks = false, false
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// doubt has everything that is left out tried again, once an hour: it may have
// been blamed for failures that had other causes. It tells whether it does.
func (s *Server) doubt(now time.Time) bool {
	if now.Sub(s.DoubtedAt) < longestWait {
		return false
	}
	s.DoubtedAt = now
	s.Refused = [NumOptions]pause{OptionAlerts: s.Refused[OptionAlerts]}
	clear(s.Statuses[:])
	s.OldBound = 0
	s.PageOrder = pause{}
	return true
}

// accept notes that the server took the options that a request carried.
func (s *Server) accept(req *Request, now time.Time) {
	if req.Link != "" {
		return
	}
	for o := range s.Refused {
		if req.carries(Option(o)) {
			s.Refused[o] = pause{}
		}
	}
	if !req.Since.IsZero() && now.Sub(req.Since) >= s.OldBound {
		s.OldBound, s.Old = 0, pause{}
	}
	s.Statuses[req.Status] = pause{}
}

// size is the page size to ask for; 0: none is asked for.
func (s *Server) size(now time.Time) int {
	switch {
	case !s.Takes(OptionPageSize, now):
		return 0
	case s.Top == 0:
		return s.offer.MaxTop
	case !s.Grow.over(now):
		return s.Top
	}
	return min(2*s.Top, s.offer.MaxTop)
}

// shrink halves the page size after one was too heavy.
func (s *Server) shrink(top int, now time.Time) {
	if s.Top == 0 || s.Top >= top {
		s.Grow = pause{} // otherwise a larger one was tried and failed
	}
	s.Top = max(1, top/2)
	s.Grow.extend(now, firstWait, longestWait)
}

// fullPage is how many rows a full page has.
func (s *Server) fullPage(top int) int {
	return min(cmp.Or(top, s.offer.MaxTop), cmp.Or(s.PageMax, s.offer.MaxTop))
}

// sized notes that a page of this size could be had.
func (s *Server) sized(top int, now time.Time) {
	if s.Top == 0 || top <= s.Top {
		return
	}
	// What lies between was waited for; what follows is tried at once.
	if s.Top = top; s.Top >= s.offer.MaxTop {
		s.Top, s.Grow = 0, pause{}
	}
	s.Grow.Until = now
}
