package listing

import (
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

const (
	// probeAfter is how long an option that was not taken is left out.
	probeAfter = 24 * time.Hour
	// firstWait and longestWait bound how long larger pages, or alerts, are left
	// alone after they failed: twice as long each time.
	firstWait   = time.Minute
	longestWait = time.Hour
)

// Server is what the server of a tenant was seen to take and to do. All listings
// of the tenant share it. It is a plain value that can be saved.
type Server struct {
	offer Offer
	// Refused is since when an option is left out, zero while it is used.
	Refused [NumOptions]time.Time `json:"refused"`
	// Bound is the operator that works for upper bounds.
	Bound Bound `json:"bound,omitempty"`
	// OldBound is the age from which on lower bounds are refused; 0: none is.
	OldBound   time.Duration `json:"old_bound,omitempty"`
	OldBoundAt time.Time     `json:"old_bound_at,omitzero"`
	// Statuses that are refused although others are not.
	Statuses [incident.NumStatuses]time.Time `json:"statuses"`
	// Unsorted: rows come in another order than that of their last update.
	Unsorted bool `json:"unsorted,omitempty"`
	// Direction is the order in which rows were last seen to come without being
	// asked for any.
	Direction Order `json:"direction,omitempty"`

	// Top is the page size in use, 0: what the API offers, and GrowAt when a larger
	// one is tried.
	Top    int       `json:"top,omitempty"`
	GrowAt time.Time `json:"grow_at,omitzero"`
	// Wait is how long the last wait was that led to GrowAt, or to the retrial of
	// alerts.
	Wait       time.Duration `json:"wait,omitempty"`
	AlertsWait time.Duration `json:"alerts_wait,omitempty"`

	// PageMax is the most rows that the server puts on a page although more were
	// asked for and exist; 0: as many as asked for. ShortPages: pages end early for
	// no reason that can be seen.
	PageMax    int  `json:"page_max,omitempty"`
	ShortPages bool `json:"short_pages,omitempty"`
	// FullPages: a page with as many rows as asked for was seen. LinkNoise: a link
	// led to nothing. EmptyPages: the link of a page without rows led to some.
	// LostLinks: links lead to rows that were not asked for. DirectRows: rows come
	// without a link.
	FullPages  bool `json:"full_pages,omitempty"`
	LinkNoise  bool `json:"link_noise,omitempty"`
	EmptyPages bool `json:"empty_pages,omitempty"`
	LostLinks  bool `json:"lost_links,omitempty"`
	DirectRows bool `json:"direct_rows,omitempty"`

	// DoubtedAt is when what is left out was last tried again because the list
	// could not be read without.
	DoubtedAt time.Time `json:"doubted_at,omitzero"`
}

// NewServer returns what is assumed of a server that nothing is known of yet.
func NewServer(offer Offer) *Server {
	return &Server{offer: offer}
}

// Resume takes over what was saved of the same server.
func (s *Server) Resume(saved *Server) {
	offer := s.offer
	*s = *saved
	s.offer = offer
	if s.Top > offer.MaxTop || s.Top < 0 {
		s.Top = 0
	}
}

// Takes tells whether requests carry an option at present.
func (s *Server) Takes(o Option, now time.Time) bool {
	switch o {
	case OptionOrder:
		if !s.offer.Order {
			return false
		}
	case OptionCount:
		if !s.offer.Count {
			return false
		}
	case OptionSkip:
		if !s.offer.Skip {
			return false
		}
	case OptionAlerts:
		if s.Refused[o].IsZero() {
			return true
		}
		return now.Sub(s.Refused[o]) >= s.AlertsWait
	}
	return s.Refused[o].IsZero() || now.Sub(s.Refused[o]) >= probeAfter
}

// Unsupported tells whether the server was seen not to take an option; one
// that it does not even offer is not meant.
func (s *Server) Unsupported(o Option) bool {
	switch o {
	case OptionPageSize:
		return !s.Refused[o].IsZero() || s.Top > 0 && s.Top < s.offer.MaxTop || s.PageMax > 0 || s.ShortPages
	case OptionLowerBound:
		return s.OldBound > 0 || !s.Refused[o].IsZero()
	}
	return !s.Refused[o].IsZero()
}

// TakesStatus tells whether the server selects by this status.
func (s *Server) TakesStatus(status incident.Status, now time.Time) bool {
	return s.Takes(OptionStatus, now) && (s.Statuses[status].IsZero() || now.Sub(s.Statuses[status]) >= probeAfter)
}

// takesSince tells whether a lower bound may be sent.
func (s *Server) takesSince(since, now time.Time) bool {
	if !s.Takes(OptionLowerBound, now) {
		return false
	}
	return s.OldBound == 0 || now.Sub(since) < s.OldBound || now.Sub(s.OldBoundAt) >= probeAfter
}

// refuse leaves an option out from now on.
func (s *Server) refuse(o Option, now time.Time) {
	if o == OptionAlerts {
		s.AlertsWait = nextWait(s.AlertsWait)
	}
	s.Refused[o] = now
}

// doubt has everything that is left out tried again, once an hour: it may have
// been blamed for failures that had other causes.
func (s *Server) doubt(now time.Time) {
	if now.Sub(s.DoubtedAt) < longestWait {
		return
	}
	s.DoubtedAt = now
	alerts := s.Refused[OptionAlerts]
	clear(s.Refused[:])
	s.Refused[OptionAlerts] = alerts
	clear(s.Statuses[:])
	s.OldBound = 0
}

// accept notes that the server took the options that a request carried.
func (s *Server) accept(req *Request, now time.Time) {
	if req.Link != "" {
		return
	}
	for o := range s.Refused {
		if req.carries(Option(o)) {
			s.Refused[o] = time.Time{}
		}
	}
	if req.Alerts {
		s.AlertsWait = 0
	}
	if !req.Since.IsZero() && s.OldBound > 0 && now.Sub(req.Since) >= s.OldBound {
		s.OldBound = 0
	}
	if req.Status != incident.StatusUnknown {
		s.Statuses[req.Status] = time.Time{}
	}
}

func nextWait(last time.Duration) time.Duration {
	return min(max(2*last, firstWait), longestWait)
}

// size is the page size to ask for; 0: none is asked for.
func (s *Server) size(now time.Time) int {
	if !s.Takes(OptionPageSize, now) {
		return 0
	}
	switch {
	case s.Top == 0:
		return s.offer.MaxTop
	case now.Before(s.GrowAt):
		return s.Top
	}
	return min(2*s.Top, s.offer.MaxTop)
}

// limitTop believes the page size that the server says is its limit.
func (s *Server) limitTop(limit int, now time.Time) {
	s.Top, s.GrowAt = limit, now.Add(probeAfter)
}

// shrink halves the page size after one was too heavy.
func (s *Server) shrink(top int, now time.Time) {
	if s.Top == 0 || s.Top >= top {
		s.Wait = nextWait(0)
	} else {
		s.Wait = nextWait(s.Wait) // a trial of a larger one failed
	}
	s.Top = max(1, top/2)
	s.GrowAt = now.Add(s.Wait)
}

// rows is how many rows a full page has.
func (s *Server) rows(top int) int {
	if top == 0 {
		top = s.offer.MaxTop
	}
	if s.PageMax > 0 {
		top = min(top, s.PageMax)
	}
	return top
}

// sized notes that a page of this size could be had.
func (s *Server) sized(top int, now time.Time) {
	if s.Top == 0 || top <= s.Top {
		return
	}
	// What lies between was waited for; what follows is tried at once.
	if s.Top = top; s.Top >= s.offer.MaxTop {
		s.Top, s.Wait = 0, 0
	}
	s.GrowAt = now
}
