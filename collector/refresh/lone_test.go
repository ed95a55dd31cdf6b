package refresh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// These are requests that alone fail as every one does in an outage, while all others go
// well.

// refusals are answers that say nothing of what was asked for, each by itself.
var refusals = map[string]listing.Error{
	"reset": {Reason: reason.Network, Err: errors.New("connection reset by peer")},
	"torn":  {Status: 200, Reason: reason.Network, Err: errors.New("unexpected EOF")},
	"206":   {Status: 206, Reason: reason.Partial},
	"401":   {Status: 401, Reason: reason.Auth},
	"403":   {Status: 403, Reason: reason.Forbidden},
	"404":   {Status: 404, Reason: reason.Other},
	"429":   {Status: 429, Reason: reason.Throttled},
	"500":   {Status: 500, Reason: reason.Server},
	"slow":  {Reason: reason.Timeout},
}

// refused is the answer to a request.
func refused(as listing.Error, req listing.Request) error {
	as.Operation, as.Request = listing.OperationList, req
	return &as
}

// dividing is a source that shows one incident with a part of its alerts, and a link to
// more, which fails.
type dividing struct {
	*tenant
	id    atomic.Int64
	links atomic.Int64
	as    listing.Error
}

func (d *dividing) List(ctx context.Context, req listing.Request) (listing.Page, error) {
	if req.AlertsOf != 0 {
		d.links.Add(1)
		_ = d.begin(ctx, req, 0)
		return listing.Page{}, refused(d.as, req)
	}
	page, err := d.tenant.List(ctx, req)
	for i := range page.Rows {
		if id := d.id.Load(); page.Rows[i].ID == id && req.Alerts {
			page.MoreAlerts = map[int64]string{id: "https://api.example/more"}
		}
	}
	return page, err
}

// TestLoneAlerts: the incident is counted all the same, and those behind it.
func TestLoneAlerts(t *testing.T) {
	for name, as := range refusals {
		for _, first := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := graph(50)
					f.fill(30)
					d := &dividing{tenant: f, as: as}
					if first {
						d.id.Store(7)
					}
					r := start(t, f, Options{Source: d})
					if first {
						sleep(2 * time.Hour)
					} else {
						r.synced(t)
						f.change(func() { d.id.Store(f.nextID + 1) })
						f.set(0, nil)
						sleep(time.Minute)
						f.set(0, nil)
						f.set(0, nil)
						sleep(time.Hour)
					}
					if s := r.Snapshot(); s == nil || !s.Coverage.All || s.Rows != len(f.incidents) {
						t.Fatalf("not all is known, after %d calls: %s", f.made(), r.Status().LastError)
					}
					if n := d.links.Load(); n > 150 { // a few each time that a delta comes upon it
						t.Errorf("the link was asked %d times", n)
					}
				})
			})
		}
	}
}

// linked is a source that shows a part of each incident's alerts, and a link to the rest.
type linked struct {
	*tenant
	links atomic.Int64
}

func (d *linked) List(ctx context.Context, req listing.Request) (listing.Page, error) {
	if req.AlertsOf != 0 {
		d.links.Add(1)
		err := d.begin(ctx, req, 0)
		return listing.Page{Alerts: make([]incident.Alert, 2), Count: -1}, err
	}
	page, err := d.tenant.List(ctx, req)
	page.MoreAlerts = map[int64]string{}
	for i := range page.Rows {
		if req.Alerts {
			page.Rows[i].Alerts = make([]incident.Alert, 1)
			page.MoreAlerts[page.Rows[i].ID] = "https://api.example/more"
		}
	}
	return page, err
}

// TestLinksOnce: further alerts of a version are read once by deltas, and once by a sweep.
func TestLinksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := graph(50)
		f.fill(30)
		d := &linked{tenant: f}
		r := start(t, f, Options{Source: d, SweepInterval: 6 * time.Hour})
		r.synced(t)
		sleep(time.Hour)
		alerts := func() (n int32) {
			for _, c := range r.Snapshot().Alerts {
				n += c.Count
			}
			return n
		}
		if links, n := d.links.Load(), alerts(); links > 30 || n != 75 || !r.Snapshot().AlertsAvailable {
			t.Errorf("%d links for 30 incidents, %d alerts", links, n) // five are redirected
		}
		links, calls := d.links.Load(), f.made()
		id := f.set(0, nil)
		sleep(30 * time.Minute)
		f.set(id, nil)
		sleep(30 * time.Minute)
		if links = d.links.Load() - links; links != 2 || alerts() != 78 || f.made()-calls > 125 {
			t.Errorf("%d links, %d alerts, %d calls for two changes", links, alerts(), f.made()-calls)
		}
		r.equal(t)
		sleep(6 * time.Hour)
		if n := d.links.Load(); n < 60 || alerts() != 78 {
			t.Errorf("%d links after a sweep, %d alerts", n, alerts())
		}
	})
}

// TestLoneRedirect: for a minute the list redirects to an address that does not work.
func TestLoneRedirect(t *testing.T) {
	const away = "https://api.example/maintenance"
	for name, as := range refusals {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(100)
				begun := time.Now()
				f.every[1] = 5 * time.Second
				f.fault = func(c call) error {
					since := time.Since(begun)
					switch {
					case c.req.Link == away:
						return refused(as, c.req)
					case c.id == 0 && since > 30*time.Second && since < 90*time.Second:
						return refused(listing.Error{Status: 302, Reason: reason.Other, Location: away}, c.req)
					}
					return nil
				}
				r := start(t, f, Options{})
				r.syncs(t, 2*time.Hour)
				r.equal(t)
			})
		})
	}
}

// TestLoneOption: what is asked for with one option alone fails, each time: a gateway
// has a rule against it, or knows it not. What is throttled may be so for the load, and is
// made again.
func TestLoneOption(t *testing.T) {
	for option, carries := range map[string]func(*listing.Request) bool{
		"position": func(r *listing.Request) bool { return r.Skip > 0 },
		"status":   func(r *listing.Request) bool { return r.Status != 0 },
		"rows":     func(r *listing.Request) bool { return r.Top == 0 || r.Top > 25 },
		"since":    func(r *listing.Request) bool { return !r.Since.IsZero() },
	} {
		for name, as := range refusals {
			if name == "429" {
				continue
			}
			t.Run(option+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := native(100)
					f.fill(300)
					f.fault = func(c call) error {
						if c.id == 0 && carries(&c.req) {
							return refused(as, c.req)
						}
						return nil
					}
					r := start(t, f, Options{})
					r.syncs(t, 2*time.Hour)
					r.equal(t)
				})
			})
		}
	}
}

// TestOutageIsNotLone: an outage within the first sync, however long, of a server whose
// smallest request is refused, or leads on to another address, stops nothing.
func TestOutageIsNotLone(t *testing.T) {
	for name, answer := range map[string]func(*tenant, call) error{
		"no page size": func(_ *tenant, c call) error {
			if c.id == 0 && c.req.Top > 0 && c.req.Link == "" {
				return answered(c, 400, reason.Other, "")
			}
			return nil
		},
		"redirects": func(f *tenant, c call) error {
			if c.id != 0 || c.req.Link != "" {
				return nil
			}
			to := fmt.Sprintf("https://api.example/%+v", c.req)
			f.change(func() { f.links[to] = c.req })
			return refused(listing.Error{Status: 302, Reason: reason.Other, Location: to}, c.req)
		},
	} {
		for outage := time.Minute; outage < 8*time.Minute; outage += 50 * time.Second {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(200)
				f.every[pass.First] = 5 * time.Second
				begun := time.Now()
				f.fault = func(c call) error {
					if since := time.Since(begun); c.id == 0 && since > time.Minute && since < time.Minute+outage {
						return answered(c, 0, reason.Network, "")
					}
					return answer(f, c)
				}
				t.Logf("%s, an outage of %v", name, outage)
				start(t, f, Options{}).syncs(t, 6*time.Hour)
			})
		}
	}
}

// TestLossIsNotLone: connections that break at random, however many, say nothing of what
// was asked for.
func TestLossIsNotLone(t *testing.T) {
	for _, percent := range []int{30, 50, 60} {
		for seed := range uint64(3) {
			synctest.Test(t, func(t *testing.T) {
				f := graph(50)
				f.fill(300)
				r := start(t, f, Options{})
				r.synced(t)
				rng := rand.New(rand.NewPCG(seed, 1))
				f.fails(func(c call) error {
					if rng.IntN(100) < percent {
						return answered(c, 0, reason.Network, "")
					}
					return nil
				})
				for range 36 {
					sleep(10 * time.Minute)
					f.set(0, nil)
				}
				f.fails(nil)
				sleep(5 * time.Minute)
				r.equal(t)
				s := r.Status()
				if slices.Contains(s.Unsupported[:], true) || s.Skipped[skippedTooHeavy] > 0 {
					t.Errorf("%d %% are lost, seed %d: left out %v, skipped %v", percent, seed, s.Unsupported, s.Skipped)
				}
			})
		}
	}
}

// TestAlertsOverAnOutage: a short outage does not withdraw the counts of alerts.
func TestAlertsOverAnOutage(t *testing.T) {
	for outage := 40 * time.Second; outage <= 2*time.Minute; outage += 5 * time.Second {
		synctest.Test(t, func(t *testing.T) {
			f := graph(50)
			f.fill(30)
			r := start(t, f, Options{})
			r.synced(t)
			sleep(30 * time.Minute)
			f.fails(faults["network"])
			sleep(outage)
			f.fails(nil)
			for range 300 {
				sleep(time.Second)
				if !r.Snapshot().AlertsAvailable {
					t.Fatalf("an outage of %v: no counts of alerts", outage)
				}
			}
		})
	}
}
