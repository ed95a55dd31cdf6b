package simulator

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

func (h *Heavy) refuses(q *query, graph bool) bool {
	return h.Top > 0 && q.top > h.Top && (!h.WithAlerts || !graph || q.expand)
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

// poisons tells whether the poisoned incident is among the rows.
func (t *Tenant) poisons(rows []*entry, alerts bool) bool {
	p := &t.faults.Poison
	if p.WithAlerts && !alerts || p.ID == 0 && p.Nth <= 0 {
		return false
	}
	if order := t.sorted(); p.ID == 0 {
		if p.Nth > len(order) {
			return false
		}
		p.ID = order[len(order)-p.Nth].ID
	}
	for _, e := range rows {
		if e.ID == p.ID {
			return true
		}
	}
	return false
}
