package simulator

import "net/http"

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

func (p *Partial) apply(rep *reply) {
	if rep.page == nil {
		return
	}
	if p.Status206 {
		rep.status = http.StatusPartialContent
	}
	if p.Warning {
		rep.header.Set("Warning", partialWarning)
	}
	rows := rep.page.rows
	keep := len(rows) - int(float64(len(rows))*p.Missing+0.5)
	rep.page.rows = rows[:max(0, min(keep, len(rows)))]
	rep.page.failed, rep.page.noValue, rep.page.nullValue = p.Error, p.NoValue, p.NullValue
}

// partial decides whether this page is hit and counts it.
func (t *Tenant) partial() bool {
	p := &t.faults.Partial
	return p.set() && t.strike(p.Share, &p.Count)
}
