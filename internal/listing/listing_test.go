package listing

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"m365_defender_exporter/internal/incident"
)

// ways are the servers that are known to exist, or to be possible.
var ways = map[string]func(*model){
	"as documented":            func(*model) {},
	"Graph":                    func(m *model) { m.graph() },
	"by update ascending":      func(m *model) { m.order = "update_asc" },
	"by creation":              func(m *model) { m.order = "created" },
	"by creation ascending":    func(m *model) { m.order = "created_asc" },
	"no order":                 func(m *model) { m.order = "random" },
	"milliseconds":             func(m *model) { m.granularity = time.Millisecond },
	"seconds":                  func(m *model) { m.granularity = time.Second },
	"no lt":                    func(m *model) { m.upper[Lt] = refuses },
	"lt fails":                 func(m *model) { m.upper[Lt] = fails },
	"lt ignored":               func(m *model) { m.upper[Lt] = ignores },
	"no upper bound":           func(m *model) { m.upper = [2]treat{refuses, refuses} },
	"upper bound fails":        func(m *model) { m.upper = [2]treat{fails, fails} },
	"upper bound ignored":      func(m *model) { m.upper = [2]treat{ignores, ignores} },
	"no lower bound":           func(m *model) { m.lower = refuses },
	"lower bound fails":        func(m *model) { m.lower = fails },
	"lower bound ignored":      func(m *model) { m.lower = ignores },
	"no skip":                  func(m *model) { m.skip = refuses },
	"skip ignored":             func(m *model) { m.skip = ignores },
	"skip capped":              func(m *model) { m.skipCap = 200 },
	"small pages":              func(m *model) { m.cap = 25 },
	"pages of any size":        func(m *model) { m.randomPages = true },
	"no links":                 func(m *model) { m.links = "none" },
	"links everywhere":         func(m *model) { m.links = "always" },
	"links without filter":     func(m *model) { m.links = "lost" },
	"empty pages":              func(m *model) { m.empty = 1 },
	"many empty pages":         func(m *model) { m.empty = 7 },
	"sorted on each page":      func(m *model) { m.pageSorted = true },
	"creation, sorted pages":   func(m *model) { m.order, m.pageSorted = "created", true },
	"two groups":               func(m *model) { m.groups = 2 },
	"three groups, no mixture": func(m *model) { m.groups, m.alone = 3, true },
	"an upper bound of none":   func(m *model) { m.upperEmpty = true },
	"lt of none":               func(m *model) { m.upperEmpty, m.upper[Le] = true, refuses },
	"gt":                       func(m *model) { m.lowerGt = true },
	"nothing beyond a skip":    func(m *model) { m.skipCap, m.skipEmpty = 250, true },
	"the same beyond a skip":   func(m *model) { m.skipCap, m.skipClamp = 250, true },
	"Graph, page is counted":   func(m *model) { m.graph(); m.pageCount, m.links = true, "none" },
	"heavy pages":              func(m *model) { m.weight = 30 },
	"a limit told":             func(m *model) { m.topText = 25 },
	"one row fails":            func(m *model) { m.poison = 1010 },
	"one row is refused":       func(m *model) { m.poison, m.poisoned = 1010, refuses },
	"retention":                func(m *model) { m.retention = 100 * 24 * time.Hour },
	"never updated":            func(m *model) { m.settle(1 << 40) },
	"hardly ever updated":      func(m *model) { m.settle(150) },
	"hardly, by creation":      func(m *model) { m.settle(150); m.order = "created" },
	"hardly, creation, asc":    func(m *model) { m.settle(150); m.order = "created_asc" },
	"status ignored":           func(m *model) { m.status = ignores },
	"status refused":           func(m *model) { m.status = refuses },
	"some rows tell no time":   func(m *model) { m.timeless = 7 },
	"no row tells its time":    func(m *model) { m.timeless = 1 },
	"some rows have no id":     func(m *model) { m.nameless = 7 },
	"pages end with junk":      func(m *model) { m.junk = true },
	"Graph without order":      func(m *model) { m.graph(); m.orderBy = refuses },
	"Graph, order ignored":     func(m *model) { m.graph(); m.orderBy = ignores; m.order = "created" },
	"Graph, order fails":       func(m *model) { m.graph(); m.orderBy = fails; m.order = "random" },
	"Graph without count":      func(m *model) { m.graph(); m.count = refuses },
	"Graph, count ignored":     func(m *model) { m.graph(); m.count = ignores },
	"Graph, no lower bound":    func(m *model) { m.graph(); m.lower = refuses },
	"Graph, no order, seconds": func(m *model) { m.graph(); m.orderBy = refuses; m.order = "random"; m.granularity = time.Second },
	"Graph, nothing but pages": func(m *model) {
		m.graph()
		m.orderBy, m.count, m.lower, m.upper = refuses, refuses, refuses, [2]treat{refuses, refuses}
	},
}

// settle has all but every so manieth row as they were created.
func (m *model) settle(every int64) {
	for id, r := range m.rows {
		if id%every != 0 {
			r.Updated = r.Created
		}
	}
}

func (m *model) graph() {
	m.offer = Offer{MaxTop: 50, Order: true, Count: true, Skip: true}
}

// kinds of listings.
var kinds = map[string]struct {
	prove  bool
	ranges func(now time.Time) []Range
}{
	"scan": {true, func(now time.Time) []Range {
		return []Range{Everything(incident.StatusUnknown, now.Add(-160*24*time.Hour))}
	}},
	"open": {false, func(now time.Time) []Range {
		return []Range{Everything(incident.StatusActive, time.Time{}), Everything(incident.StatusInProgress, time.Time{})}
	}},
	"delta": {false, func(now time.Time) []Range {
		return []Range{Everything(incident.StatusUnknown, now.Add(-30*time.Hour))}
	}},
}

func TestComplete(t *testing.T) {
	for name, way := range ways {
		for kind, k := range kinds {
			for _, n := range []int{0, 1, 40, 700, 2000} {
				for _, moving := range []float64{0, 0.4} {
					t.Run(fmt.Sprintf("%s/%s/%d/%v", name, kind, n, moving), func(t *testing.T) {
						m := newModel(rand.New(rand.NewPCG(uint64(n), 7)), n, n > 1000)
						way(m)
						m.moving = moving
						if n == 0 {
							m.moving = 0
						}
						s := NewServer(m.offer)
						began := m.now
						ranges := k.ranges(m.now)
						l := New(s, k.prove, ranges...)
						got, err := m.read(l, 20000)
						if ((m.poison != 0 || m.alone) && moving > 0 || m.timeless == 1) && errors.Is(err, errUnsteady) {
							// Pages of one row have none in common. Where the list moves between any
							// two of them, each reading may have missed the same row: nobody can know.
							// Nor can anybody where no row tells whether it has changed meanwhile.
							return
						}
						if err != nil {
							t.Fatalf("%v\n%v\n%s", err, m, tail(m.log))
						}
						if missing := m.missing(got, began, l.Whole...); len(missing) > 0 && (kind != "open" || s.TakesStatus(incident.StatusActive, m.now)) {
							t.Fatalf("%d of %d rows are missing after %d calls, %d were read: %v\n%v\n%s", len(missing), n, m.calls, len(got), missing[0], m, tail(m.log))
						}
						t.Logf("%d calls for %d rows", m.calls, len(got))
					})
				}
			}
		}
	}
}

func tail(log []string) (s string) {
	for _, line := range log[:min(len(log), 190)] {
		s += line + "\n"
	}
	return s
}

// TestCrowdedEnd: the first page is of one second, and tells neither that it is
// not the last one nor on which side of it the others are.
func TestCrowdedEnd(t *testing.T) {
	for _, order := range []string{"update", "update_asc", "created"} {
		for kind, k := range kinds {
			for _, before := range []time.Duration{time.Hour, 20 * time.Hour, 150 * 24 * time.Hour} {
				for _, treats := range [][2]treat{{takes, takes}, {refuses, takes}, {ignores, takes}, {takes, refuses}} {
					m := newModel(rand.New(rand.NewPCG(1, 7)), 0, false)
					m.order, m.links, m.cap = order, "none", 25
					m.lower, m.skip = treats[0], treats[1]
					for i := range 200 {
						at := m.now.Add(-before).Truncate(time.Second)
						created := at
						if i >= 60 {
							at = m.now.Add(-time.Duration(1+i) * 10 * time.Minute)
							created = m.now.Add(-time.Duration(3700+i*7919%100) * time.Hour)
						}
						m.add(created, at)
					}
					s, began := NewServer(m.offer), m.now
					if s.Unsorted = order == "created"; m.skip == refuses {
						s.Refuse(OptionSkip, m.now)
					}
					l := New(s, k.prove, k.ranges(m.now)...)
					got, err := m.read(l, 2000)
					missing := m.missing(got, began, l.Whole...)
					if err != nil && m.skip == takes || err == nil && len(missing) > 0 {
						t.Errorf("%s, %s, %v, bounds and positions %d: %d rows are missing, %v\n%s", order, kind, before, treats, len(missing), err, tail(m.log))
					}
				}
			}
		}
	}
}

// TestGaps: a list is read by links alone. While it is, its first row leaves each
// time between two pages, so that what was first on the next page is missed. If
// another row comes between two rounds, that is the same row in each round whose
// pages end at the same rows; if one more leaves, it is the same where they end as
// many rows earlier.
func TestGaps(t *testing.T) {
	for _, top := range []int{10, 100} {
		for _, comes := range []bool{true, false} {
			list := rowsAt(0, -9, -3, -7, -1) // before the first page, which tells that there is no order
			for id := range int64(15) {
				list = append(list, incident.Incident{ID: 100 + id, Updated: noon.Add(-time.Duration(1+id*7%15) * time.Hour)})
			}
			s := NewServer(Offer{MaxTop: top})
			s.Refuse(OptionUpperBound, noon)
			l := New(s, true, Everything(incident.StatusUnknown, time.Time{}))
			now, got := noon, map[int64]bool{}
			for req, more := l.Next(now); more; req, more = l.Next(now) {
				now = now.Add(time.Second)
				skip, _ := strconv.Atoi(req.Link)
				switch {
				case now.Sub(noon) == time.Second:
				case list[0].ID == 1:
					list = list[5:]
				default:
					list = list[1:]
				}
				if comes && skip == 0 && list[0].ID != 1 {
					list = slices.Concat([]incident.Incident{{ID: now.Unix(), Updated: now}, {ID: -now.Unix(), Updated: now}}, list)
				}
				end := min(skip+min(req.Top, 10), len(list))
				page := Page{Rows: slices.Clone(list[min(skip, end):end]), Count: -1, Date: now}
				if end < len(list) {
					page.Link = strconv.Itoa(end)
				}
				rows, err := l.Apply(now, req, page)
				if err != nil {
					t.Fatal(err)
				}
				for _, in := range rows {
					got[in.ID] = true
				}
			}
			for _, in := range list {
				if in.Updated.Before(noon) && !got[in.ID] {
					t.Errorf("pages of %d asked for, others come: %v: %d is missing", top, comes, in.ID)
				}
			}
		}
	}
}

// TestDeltaOfAMachineBehind: what a delta misses at the second that it goes on from may be on a
// machine that is behind. Bounds are not left out for that, unless a scan has needed it.
func TestDeltaOfAMachineBehind(t *testing.T) {
	m := newModel(rand.New(rand.NewPCG(3, 1)), 900, false)
	m.graph()
	m.lowerGt, m.count = true, refuses
	s := NewServer(m.offer)
	delta := func() error {
		l := New(s, false, kinds["scan"].ranges(m.now)...)
		l.Known = func(*incident.Incident) bool { return false }
		_, err := m.read(l, 1000)
		return err
	}
	if err := delta(); !errors.Is(err, errCoarse) || !s.Takes(OptionLowerBound, m.now) || !s.Takes(OptionUpperBound, m.now) {
		t.Errorf("got %v, refused %v", err, s.Refused)
	}
	if _, err := m.read(New(s, true, kinds["scan"].ranges(m.now)...), 1000); err != nil || !s.Coarse {
		t.Errorf("a scan: %v, coarse %v", err, s.Coarse)
	}
	clear(s.Refused[:])
	if err := delta(); err != nil {
		t.Errorf("a delta after that: %v", err)
	}
}
