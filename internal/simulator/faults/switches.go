package faults

import (
	"time"

	"m365_defender_exporter/internal/simulator/defender"
	"m365_defender_exporter/internal/simulator/graph"
	"m365_defender_exporter/internal/simulator/life"
	"m365_defender_exporter/internal/simulator/odata"
)

// APIs are those that something concerns.
type APIs int

// The APIs.
const (
	Native APIs = 1 << iota
	Graph
	Both = Native | Graph
)

// Kind is what the best of clients can do about a fault. A client may do better
// than that, and never worse; that it fails and says so is no worse than
// Incomplete.
type Kind int

// The kinds.
const (
	// Exact: the counts can be right within two of the client's refresh
	// intervals after the last change.
	Exact Kind = iota
	// Sweep: only a client that reads everything again can tell, twice at most.
	Sweep
	// Incomplete: no client can know all of it. A client has to say that what it
	// has is incomplete, or that it fails.
	Incomplete
	// Unknowable: not even that. The answers are those of another tenant.
	Unknowable
)

// Switch is a fault with a name, for tests that try each alone and with each
// other.
type Switch struct {
	Name string
	// APIs are those in which it makes a difference.
	APIs APIs
	// Set adds the fault to others.
	Set func(*Faults)
	// Knowable is about the fault alone. [Knowable] is about several.
	Knowable Kind
	// Group: of switches with the same one only the last that is set counts.
	Group string
	// NoAlerts: what is counted of alerts may be absent, but not wrong.
	NoAlerts bool
	// Later: it can be noticed only where it begins after a client has read
	// everything once.
	Later bool
}

// Switches are the ways in which lists misbehave for as long as they are set,
// each as mild as it can be told from health in a tenant of some hundred
// incidents. Outages are [Weather].
//
// Retention is 170 days, so that incidents of the last 180, which is what a
// tenant has unless its Options say otherwise, are found only by clients that
// do without the bound.
func Switches() []Switch {
	var all []Switch
	group := ""
	add := func(name string, apis APIs, knowable Kind, set func(*Faults)) *Switch {
		all = append(all, Switch{Name: name, APIs: apis, Set: set, Knowable: knowable, Group: group})
		return &all[len(all)-1]
	}

	group = "order"
	add("order oldest update", Both, Exact, func(f *Faults) { f.Order = odata.OldestUpdate })
	add("order newest created", Both, Exact, func(f *Faults) { f.Order = odata.NewestCreated })
	add("order oldest created", Both, Exact, func(f *Faults) { f.Order = odata.OldestCreated })
	add("order none", Both, Exact, func(f *Faults) { f.Order = odata.NoOrder })
	group = "precision"
	add("times in ms", Both, Exact, func(f *Faults) { f.Precision = time.Millisecond })
	add("times in s", Both, Exact, func(f *Faults) { f.Precision = time.Second })

	for _, option := range []struct {
		name    string
		set     func(*odata.Takes, odata.Take)
		apis    APIs // where requests carry it
		refused APIs // where it is not refused anyway
		alerts  bool
	}{
		{"orderby", func(s *odata.Takes, is odata.Take) { s.OrderBy = is }, Both, Graph, false},
		{"lower bound", func(s *odata.Takes, is odata.Take) { s.Since = is }, Both, Both, false},
		{"lt", func(s *odata.Takes, is odata.Take) { s.Lt = is }, Both, Both, false},
		{"le", func(s *odata.Takes, is odata.Take) { s.Le = is }, Both, Both, false},
		{"upper bound", func(s *odata.Takes, is odata.Take) { s.Lt, s.Le = is, is }, Both, Both, false},
		{"status", func(s *odata.Takes, is odata.Take) { s.Status = is }, Both, Both, false},
		{"alerts", func(s *odata.Takes, is odata.Take) { s.Alerts = is }, Graph, Graph, true},
		{"count", func(s *odata.Takes, is odata.Take) { s.Count = is }, Both, Graph, false},
		{"skip", func(s *odata.Takes, is odata.Take) { s.Skip = is }, Both, Both, false},
		{"top", func(s *odata.Takes, is odata.Take) { s.Top = is }, Both, Both, false},
	} {
		group = option.name
		for _, is := range []struct {
			name string
			take odata.Take
			apis APIs
		}{
			{"ignored", odata.Ignored, Both}, {"refused 400", 400, option.refused}, {"refused 501", 501, Both}, {"refused 500", 500, Both},
		} {
			add(option.name+" "+is.name, is.apis&option.apis, Exact, func(f *Faults) { option.set(&f.Takes, is.take) }).NoAlerts = option.alerts
		}
	}
	group = "orderby"
	add("orderby honoured", Native, Exact, func(f *Faults) { f.Takes.OrderBy = odata.Honoured })
	group = "count"
	add("count honoured", Native, Exact, func(f *Faults) { f.Takes.Count = odata.Honoured })
	group = ""
	add("skip capped", Both, Exact, func(f *Faults) { f.SkipCap = 60 })
	add("top limit", Both, Exact, func(f *Faults) { f.TopLimit = 25 })
	add("retention", Both, Exact, func(f *Faults) { f.Retention = 170 * day })
	add("window", Both, Exact, func(f *Faults) { f.Window = 30 * day })
	add("a status unknown", Both, Exact, func(f *Faults) { f.RefuseStatusValues = []string{life.AwaitingAction} })

	add("pages capped", Both, Exact, func(f *Faults) { f.Pages.Cap = 30 })
	add("pages ragged", Both, Exact, func(f *Faults) { f.Pages.Ragged = true })
	add("pages empty", Both, Exact, func(f *Faults) { f.Pages.Empty = true })
	group = "links there"
	add("no links", Both, Exact, func(f *Faults) { f.Links.None = true })
	add("links everywhere", Both, Exact, func(f *Faults) { f.Links.Always = true })
	group = "link shape"
	add("links lossy", Graph, Exact, func(f *Faults) { f.Links.Shape = LinkLossy }).NoAlerts = true
	add("links full", Both, Exact, func(f *Faults) { f.Links.Shape = LinkFull })
	add("links opaque", Native, Exact, func(f *Faults) { f.Links.Shape = LinkOpaque })
	group = "link cycle"
	add("links to themselves", Both, Exact, func(f *Faults) { f.Links.Cycle = 1 })
	add("links forth and back", Both, Exact, func(f *Faults) { f.Links.Cycle = 2 })
	group = ""
	add("links foreign", Both, Exact, func(f *Faults) { f.Links.Host = Foreign })
	add("links plain", Both, Exact, func(f *Faults) { f.Links.PlainHTTP = true })

	group = "heavy"
	add("heavy 504", Both, Exact, func(f *Faults) { f.Heavy = Heavy{Top: 20} })
	add("heavy 500", Both, Exact, func(f *Faults) { f.Heavy = Heavy{Top: 20, Status: 500} })
	add("heavy hangs", Both, Exact, func(f *Faults) { f.Heavy = Heavy{Top: 20, Hang: true} })
	add("heavy with alerts", Both, Exact, func(f *Faults) { f.Heavy = Heavy{Top: 20, Status: 500, WithAlerts: true} }).NoAlerts = true
	group = "poison"
	add("poisoned", Both, Incomplete, func(f *Faults) { f.Poison = Poison{Nth: 12} })
	add("poisoned alerts", Graph, Exact, func(f *Faults) { f.Poison = Poison{Nth: 12, WithAlerts: true} }).NoAlerts = true

	group = "partial"
	add("206 whole", Both, Incomplete, func(f *Faults) { f.Partial = Partial{Status206: true, Warning: true} })
	add("206 rows missing", Both, Incomplete, func(f *Faults) { f.Partial = Partial{Status206: true, Warning: true, Missing: 0.5} })
	add("206 empty", Both, Incomplete, func(f *Faults) { f.Partial = Partial{Status206: true, Warning: true, Missing: 1} })
	add("206 without warning", Both, Incomplete, func(f *Faults) { f.Partial = Partial{Status206: true, Missing: 0.5} })
	add("200 with warning", Both, Incomplete, func(f *Faults) { f.Partial = Partial{Warning: true, Missing: 0.5} })
	add("error beside value", Both, Incomplete, func(f *Faults) { f.Partial = Partial{Error: true, Missing: 0.7} })
	add("no value", Both, Incomplete, func(f *Faults) { f.Partial = Partial{NoValue: true} })
	add("value null", Both, Incomplete, func(f *Faults) { f.Partial = Partial{NullValue: true} })

	group = "hide"
	add("all hidden", Both, Incomplete, func(f *Faults) { f.Hide = 1 }).Later = true
	add("most hidden", Both, Incomplete, func(f *Faults) { f.Hide = 0.8 }).Later = true
	add("some hidden", Both, Incomplete, func(f *Faults) { f.Hide = 0.2 }).Later = true
	group = "lag"
	add("late by seconds", Both, Exact, func(f *Faults) { f.Lag = 20 * time.Second })
	add("late by minutes", Both, Sweep, func(f *Faults) { f.Lag = 15 * time.Minute })
	group = ""
	add("stale at times", Both, Exact, func(f *Faults) { f.Stale = Stale{Age: 10 * time.Second, Share: 0.5} })
	group = "ahead"
	add("one ahead by minutes", Both, Exact, func(f *Faults) { f.Ahead = Drift{By: 10 * time.Minute, Count: 1} })
	add("one ahead by a day", Both, Exact, func(f *Faults) { f.Ahead = Drift{By: day, Count: 1} })
	add("one in 2099", Both, Exact, func(f *Faults) { f.Ahead = Drift{By: 73 * 365 * day, Count: 1} })
	add("some ahead by hours", Both, Exact, func(f *Faults) { f.Ahead = Drift{By: 2 * time.Hour, Share: 0.2} })
	group = ""
	add("some back", Both, Sweep, func(f *Faults) { f.Back = Drift{By: time.Hour, Share: 0.2} })

	group = "ids"
	add("ids GUIDs", Both, Incomplete, func(f *Faults) { f.IDs.Form = IDGUID })
	add("some ids GUIDs", Both, Incomplete, func(f *Faults) { f.IDs = IDs{IDGUID, 0.2} })
	add("ids floats", Both, Incomplete, func(f *Faults) { f.IDs.Form = IDFloat })
	add("no ids", Both, Incomplete, func(f *Faults) { f.IDs.Form = IDAbsent })
	add("some without ids", Both, Incomplete, func(f *Faults) { f.IDs = IDs{IDAbsent, 0.2} })
	group = "alerts of rows"
	add("alerts paged", Both, Exact, func(f *Faults) { f.Alerts = Alerts{Page: 1} }).NoAlerts = true
	add("alerts null", Both, Exact, func(f *Faults) { f.Alerts = Alerts{Null: true} }).NoAlerts = true
	add("alerts absent", Both, Exact, func(f *Faults) { f.Alerts = Alerts{Absent: true} }).NoAlerts = true
	add("some alerts absent", Both, Exact, func(f *Faults) { f.Alerts = Alerts{Absent: true, Share: 0.2} }).NoAlerts = true
	group = "enums"
	add("enums numbers", Both, Incomplete, func(f *Faults) { f.NumericEnums = 1 })
	add("some enums numbers", Both, Incomplete, func(f *Faults) { f.NumericEnums = 0.2 })
	group = ""
	add("unassigned", Both, Exact, func(f *Faults) { f.Unassigned = true })
	add("odd rows", Both, Exact, func(f *Faults) { f.OddRows = true })
	add("byte order mark", Both, Exact, func(f *Faults) { f.BOM = true })

	group = "lookups"
	add("missing 500", Both, Sweep, func(f *Faults) { f.Lookups.Missing = 500 })
	add("missing 410", Both, Sweep, func(f *Faults) { f.Lookups.Missing = 410 })
	add("missing 403", Both, Sweep, func(f *Faults) { f.Lookups.Missing = 403 })
	add("look-ups 500", Both, Sweep, func(f *Faults) { f.Lookups.Status = 500 })
	group = "date"
	add("no date", Both, Exact, func(f *Faults) { f.NoDate = true })
	add("date behind", Both, Exact, func(f *Faults) { f.DateOff = -time.Hour })
	add("date ahead", Both, Exact, func(f *Faults) { f.DateOff = time.Hour })
	return all
}

// Weather are the faults that come and go: outages, lost connections, answers
// that break. Each hits some of the calls; when it is over a client is to be
// exact again. Those of one group hit the same calls.
func Weather() []Switch {
	var all []Switch
	group, share := "calls", 0.3
	add := func(name string, set func(*Faults)) {
		in := group
		all = append(all, Switch{Name: name, APIs: Both, Knowable: Exact, Group: in, Set: func(f *Faults) {
			if in == "calls" {
				f.Share = share
			}
			set(f)
		}})
	}
	status := func(name string, status int, retryAfter string) {
		add(name, func(f *Faults) { f.Status, f.RetryAfter = status, retryAfter })
	}
	status("500", 500, "")
	status("502", 502, "")
	status("503", 503, "20")
	status("504", 504, "")
	status("401", 401, "")
	status("403", 403, "")
	status("429", 429, "30")
	status("429 without Retry-After", 429, "")
	status("429 for years", 429, "99999999999")
	status("500 for a day", 500, "86400")
	add("429 of an unknown period", func(f *Faults) {
		f.Status, f.ThrottleText = 429, "API calls quota exceeded! maximum allowed 40 per 00:05:00"
	})
	add("429 in words", func(f *Faults) { f.Status, f.ThrottleText = 429, "1 per minute" })
	add("429 told as 500", func(f *Faults) { f.Status, f.ThrottleBody = 429, ThrottleBody500 })
	add("empty 405", func(f *Faults) { f.Status, f.EmptyBody = 405, true })
	status("101", 101, "")
	add("hang", func(f *Faults) { f.Hang = true })
	add("slow", func(f *Faults) { f.Delay = 45 * time.Second })
	add("slow body", func(f *Faults) { f.Drip = 2 * time.Minute })
	add("dropped", func(f *Faults) { f.Drop = DropBeforeHeaders })
	add("dropped in the middle", func(f *Faults) { f.Drop = DropMidBody })
	add("torn", func(f *Faults) { f.Torn = true })
	add("not JSON", func(f *Faults) { f.NotJSON = true })
	add("redirect", func(f *Faults) { f.Redirect = Foreign + "/login" })
	add("redirect at home", func(f *Faults) { f.Redirect = "/maintenance" })
	add("1xx without end", func(f *Faults) { f.Wire.Interim = -1 })
	add("some 1xx", func(f *Faults) { f.Wire.Interim = 5 })
	add("too long", func(f *Faults) { f.Wire.LengthOff = 100 })
	add("too short", func(f *Faults) { f.Wire.LengthOff = -100 })
	add("bad checksum", func(f *Faults) { f.Wire.BadChecksum = true })
	add("rows that are none", func(f *Faults) { f.Flood.Rows = 1000 })
	add("echo", func(f *Faults) { f.Echo = Echo{EchoBase64, EchoMessage} })

	group = "partial"
	add("206 at times", func(f *Faults) {
		f.Partial = Partial{Share: share, Status206: true, Warning: true, Missing: 0.5}
	})
	add("206 and nothing at times", func(f *Faults) { f.Partial = Partial{Share: share, Status206: true, Warning: true, Missing: 1} })
	add("warning at times", func(f *Faults) { f.Partial = Partial{Share: share, Warning: true, Missing: 0.5} })
	add("error beside value at times", func(f *Faults) { f.Partial = Partial{Share: share, Error: true, Missing: 0.7} })
	add("no value at times", func(f *Faults) { f.Partial = Partial{Share: share, NoValue: true} })
	add("value null at times", func(f *Faults) { f.Partial = Partial{Share: share, NullValue: true} })

	group = "token"
	add("no tokens", func(f *Faults) { f.Token.Status = 503 })
	add("tokens refused", func(f *Faults) { f.Token.Code = 90033 })
	add("tokens elsewhere", func(f *Faults) { f.Token.Redirect = Foreign + "/token" })
	return all
}

// Knowable is what the best of clients can do about several switches at once in
// one of the APIs: at best what is possible about the worst of them, and less
// where one takes away what another would need. It supposes more incidents than
// a page has, and no instant that has more than a page.
func Knowable(api APIs, switches ...Switch) Kind {
	var f Faults
	kind := Exact
	for _, s := range switches {
		if s.APIs&api != 0 {
			kind = max(kind, s.Knowable)
			s.Set(&f)
		}
	}
	if f.Ahead.By > 0 && (f.NoDate || f.DateOff > 0) {
		kind = max(kind, Sweep) // whether a row is ahead cannot be told from Date
	}
	switch {
	case f.Partial.NullValue && f.Links.None && api == Native:
		return Unknowable // one that is empty
	case f.Window > 0 && (f.Retention > 0 || f.Takes.Since != odata.Usual && f.Takes.Since != odata.Honoured):
		return Unknowable // the list of another tenant
	case !f.readable(api):
		return Incomplete
	}
	return kind
}

// readable tells whether there is a way to all rows.
func (f *Faults) readable(api APIs) bool {
	face := defender.Face()
	if api == Graph {
		face = graph.Face("")
	}
	honours := func(is, usual odata.Take) bool {
		return is == odata.Honoured || is == odata.Usual && usual != odata.Refused
	}
	top := face.Top
	if f.TopLimit > 0 {
		top = f.TopLimit
	}
	if f.Heavy.Top > 0 && top > f.Heavy.Top && !honours(f.Takes.Top, odata.Usual) && (!f.Heavy.WithAlerts || api == Native) {
		return false // nothing but pages that are too heavy
	}
	reachable := f.Links.Host == "" && !f.Links.PlainHTTP
	skip := honours(f.Takes.Skip, odata.Usual)
	opaque := f.Links.Shape == LinkOpaque || f.Links.Shape == LinkUsual && api == Graph
	links := reachable && !f.Links.None && f.Links.Cycle == 0 && (opaque || skip && f.SkipCap == 0)
	lossy := f.Links.Shape == LinkLossy || f.Links.Shape == LinkUsual && api == Native
	switch {
	case f.Pages.Empty && !f.Links.None && !links:
		return false // nothing but empty pages
	case f.Pages.Empty && lossy && f.Heavy.Top > 0 && (!f.Heavy.WithAlerts || api == Native):
		return false // nothing but empty pages, and links to what is too heavy
	case f.Pages.Empty && lossy && f.Window > 0:
		return false // nothing but empty pages, and links that ask for no time
	case f.Pages.Empty && !lossy && f.Poison.WithAlerts && api == Graph:
		return false // nor can the alerts be left out of a link
	case f.Pages.Ragged && f.Links.Cycle > 0:
		return false // an end looks like any page, and its link leads back
	case (f.Pages.Ragged || f.Links.Always) && !skip && !links:
		return false // a second may have more than its page, and nothing leads there
	}
	since := honours(f.Takes.Since, odata.Usual) && f.Retention == 0
	upper := honours(f.Takes.Lt, odata.Usual) || honours(f.Takes.Le, odata.Usual)
	ordered := honours(f.Takes.OrderBy, face.Takes.OrderBy)
	switch {
	case skip && f.SkipCap == 0, links, since && upper:
		return true
	case upper && (ordered || f.Order == odata.NewestUpdate), since && (ordered || f.Order == odata.OldestUpdate):
		return true
	}
	return false
}
