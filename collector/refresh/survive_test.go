package refresh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/reason"
)

// TestPanic: a mistake stays in its tenant; it is counted, told once with its
// stack, and tried again, longer and longer after it.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := native(10), native(10)
		bad.fill(40)
		good.fill(40)
		var log journal
		broken, fine := start(t, bad, Options{Logger: log.logger()}), start(t, good, Options{})
		broken.synced(t)
		fine.synced(t)
		known := bad.counts()
		bad.fails(faults["panics"])
		bad.set(0, nil)
		since, calls := time.Now(), bad.made()
		for range 60 {
			sleep(time.Minute)
			if age := time.Since(broken.Heartbeat()); age > 30*time.Second {
				t.Fatalf("no heartbeat for %v", age)
			}
			good.set(0, nil)
		}
		sleep(31 * time.Second)
		fine.equal(t)
		if late := lateDeltas(good, since, 30*time.Second); len(late) > 0 {
			t.Errorf("the other tenant's deltas were late: %q", late)
		}
		s := broken.Status()
		if s.Up || s.Passes[pass.Delta].Failures[reason.Panic] == 0 || broken.Snapshot().Incidents != known {
			t.Errorf("status: %+v", s)
		}
		if n := bad.made() - calls; n < 12 || n > 40 {
			t.Errorf("%d attempts in an hour, want one each five minutes in the end", n)
		}
		if text := log.String(); strings.Count(text, "stack=") != 1 || !strings.Contains(text, "fake_test.go") {
			t.Errorf("log:\n%s", text)
		}
		bad.fails(nil)
		sleep(6 * time.Minute)
		broken.equal(t)
		if !broken.Status().Up {
			t.Error("not up again")
		}
	})
}

// panicky is a ledger that panics.
type panicky struct {
	*tenant
	broken bool
}

func (b *panicky) Ready(now time.Time, p pass.Pass) time.Time {
	b.mu.Lock()
	broken := b.broken
	b.mu.Unlock()
	if broken {
		panic("a mistake of the ledger's")
	}
	return b.tenant.Ready(now, p)
}

// TestPanicOfTheSchedule does not make it turn without a rest.
func TestPanicOfTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(40)
		p := &panicky{tenant: f}
		l := New(Options{Source: f, Ledger: p})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		sleep(time.Minute)
		f.change(func() { p.broken = true })
		sleep(time.Hour)
		if age := time.Since(l.Heartbeat()); age > 30*time.Second {
			t.Errorf("no heartbeat for %v", age)
		}
		if s := l.Status(); s.Up || s.Passes[pass.Delta].Failures[reason.Panic] < 3 || s.Passes[pass.Delta].Failures[reason.Panic] > 200 {
			t.Errorf("status: %+v", s)
		}
		f.change(func() { p.broken = false })
		f.set(0, nil)
		sleep(2 * time.Minute)
		(&running{Loop: l, f: f}).equal(t)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestPanicOfPublishing: counts that cannot be shown are not up, and the deltas go on at
// their interval.
func TestPanicOfPublishing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := native(10), newDisk()
		f.fill(40)
		r := start(t, f, Options{Store: d, SweepInterval: 24 * time.Hour})
		sleep(time.Minute)
		known := r.mirror
		d.change(func() { d.during = func() { r.mirror = nil } }) // a mistake, between a save and the next call
		f.fails(func(call) error {
			r.mirror = known
			return nil
		})
		before := f.made()
		sleep(10 * time.Minute)
		if got := f.made() - before; got < 20 || got > 21 {
			t.Errorf("%d calls in ten minutes, want one each half of a minute", got)
		}
		if s := r.Status(); s.Up || s.LastReason != reason.Panic {
			t.Errorf("status: %+v", s)
		}
		d.change(func() { d.during = nil })
		f.set(0, nil)
		sleep(time.Minute)
		r.equal(t)
		if !r.Status().Up {
			t.Error("not up again")
		}
	})
}

// once is a handler of logs that panics at the first record of a message.
type once struct {
	slog.Handler
	message string
	done    atomic.Bool
}

func (o *once) Enabled(context.Context, slog.Level) bool { return true }

func (o *once) Handle(_ context.Context, r slog.Record) error {
	if r.Message == o.message && !o.done.Swap(true) {
		panic("a mistake")
	}
	return nil
}

// TestPanicBeforeTheLookups: a sweep that has noted nothing to look up, after all was
// read, comes to its end, and the next one finds what it did not.
func TestPanicBeforeTheLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(50)
		f.fill(300)
		o := &once{Handler: slog.DiscardHandler, message: "A sweep did not see many incidents"}
		r := start(t, f, Options{SweepInterval: time.Hour, Logger: slog.New(o)})
		r.synced(t)
		for id := range int64(maxLookups + 10) {
			f.drop(id + 1)
		}
		sleep(4 * time.Hour)
		if !o.done.Load() {
			t.Fatal("the test shows nothing: there was no panic")
		}
		r.equal(t)
		if s := r.Status(); !s.Up || s.Passes[pass.Sweep].Failures[reason.Panic] != 1 {
			t.Errorf("status: %+v", s)
		}
	})
}

// TestPanicOfAPass: one that always panics is no hindrance to the others.
func TestPanicOfAPass(t *testing.T) {
	for name, hits := range map[string]func(call) bool{
		"sweep":   func(c call) bool { return c.pass == pass.Sweep && c.id == 0 },
		"lookup":  func(c call) bool { return c.id == 3 },
		"reread":  func(c call) bool { return c.id == 9 },
		"at last": func(c call) bool { return c.pass == pass.Delta && c.n < 30 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(10)
				f.fill(60)
				if name == "at last" {
					f.fails(func(c call) error {
						if hits(c) {
							panic("a mistake")
						}
						return nil
					})
				}
				r := start(t, f, Options{SweepInterval: 30 * time.Minute})
				r.synced(t)
				sleep(time.Second)
				f.fails(func(c call) error {
					if hits(c) {
						panic("a mistake")
					}
					return nil
				})
				f.drop(3, 4)
				f.set(9, func(in *incident.Incident) { in.Updated = in.Updated.AddDate(1, 0, 0) })
				since := time.Now()
				for range 20 {
					f.set(0, nil)
					sleep(31 * time.Second)
				}
				sleep(3 * time.Hour)
				if late := lateDeltas(f, since, 30*time.Second); len(late) > 0 {
					t.Errorf("deltas were late: %q", late)
				}
				if got := r.Snapshot().Flows.Created[0]; got != 20 {
					t.Errorf("created: got %d, want 20", got)
				}
				if name != "sweep" {
					r.equal(t)
				}
			})
		})
	}
}

// TestSavedBeforePublished: nothing is shown that a crash could take back.
func TestSavedBeforePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := native(10), newDisk()
		f.fill(60)
		var r *running
		var saved, before progress
		var flows, flowsBefore struct{ Flows incident.Flows }
		d.during = func() {
			if r != nil && r.Status().Skipped != saved.Draft.Skipped {
				t.Errorf("%d skipped rows are shown, %d are saved", r.Status().Skipped, saved.Draft.Skipped)
			}
			saved, before = progress{}, saved
			flows, flowsBefore = struct{ Flows incident.Flows }{}, flows
			if err := errors.Join(json.Unmarshal(d.progress, &saved), json.Unmarshal(d.tables, &flows)); err != nil {
				t.Error(err)
			}
			if r == nil || r.Snapshot() == nil {
				return
			}
			// What is in this save is not shown yet; what is shown was in one before.
			s := r.Snapshot()
			if s.At.After(before.PublishedAt) || s.Flows.Created[0] > flowsBefore.Flows.Created[0] {
				t.Error("a snapshot is shown before it is saved")
			}
			if got := r.Status().Corrections; got != before.Draft.Corrections {
				t.Errorf("corrections are shown before they are saved: %v, saved were %v", got, before.Draft.Corrections)
			}
		}
		r = start(t, f, Options{Store: d, SweepInterval: time.Hour})
		for range 100 {
			f.set(0, nil)
			f.drop(f.nextID - 10)
			sleep(time.Minute)
		}
		sleep(2 * time.Hour)
		r.equal(t)
		if saved.Draft.Corrections == [3]uint64{} || flows.Flows.Created[0] == 0 {
			t.Error("the test shows nothing")
		}
	})
}

// TestStoreFails: the counts go on from memory, and a later save brings what was
// not kept.
func TestStoreFails(t *testing.T) {
	for name, fail := range map[string]func(*disk, bool){
		"error": func(d *disk, on bool) {
			if d.failing = nil; on {
				d.failing = errors.New("the disk is full")
			}
		},
		"panic": func(d *disk, on bool) {
			if d.during = nil; on {
				d.during = func() { panic("a mistake of the store's") }
			}
		},
	} {
		for _, from := range []time.Duration{0, 2 * time.Second, time.Hour} {
			t.Run(name+" from "+from.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, d := native(10), newDisk()
					f.fill(60)
					f.every[pass.First] = 500 * time.Millisecond
					if from == 0 {
						fail(d, true)
					}
					var log journal
					r := start(t, f, Options{Store: d, Logger: log.logger()})
					sleep(from)
					d.change(func() { fail(d, true) })
					for range 10 {
						f.resolve(1 + int64(f.made()%50))
						f.set(0, nil)
						f.drop(2)
						sleep(31 * time.Second)
					}
					sleep(6 * time.Hour) // a sweep among it
					r.equal(t)
					if name == "panic" {
						if n := strings.Count(log.String(), "stack="); n != 1 {
							t.Errorf("%d stacks are logged", n)
						}
						if got := r.Status().Passes[pass.Delta].Failures[reason.Panic]; got == 0 {
							t.Error("not counted")
						}
					}
					d.change(func() { fail(d, false) })
					sleep(time.Minute)
					want := *r.Snapshot()
					r.stop()
					next := start(t, f, Options{Store: d})
					next.equal(t)
					if got := next.Snapshot().Flows; got.Created != want.Flows.Created || got.Resolved != want.Flows.Resolved {
						t.Error("the flows are not those that were shown")
					}
				})
			})
		}
	}
}

// TestProgressCannotBeEncoded: then what was saved before stays, and is gone on from.
func TestProgressCannotBeEncoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := native(10), newDisk()
		f.fill(30)
		r := start(t, f, Options{Store: d})
		r.synced(t)
		f.change(func() { r.Watermark.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }) // JSON has no such year
		saves := d.saves
		r.stop()
		if d.saves != saves {
			t.Error("it was saved")
		}
		before := len(f.of(pass.First))
		r = start(t, f, Options{Store: d})
		sleep(time.Minute)
		r.equal(t)
		if len(f.of(pass.First)) != before {
			t.Error("the state was lost")
		}
	})
}

// TestStoreFailsAtTheEnd: the last save, too, is survived.
func TestStoreFailsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := native(10), newDisk()
		f.fill(10)
		r := start(t, f, Options{Store: d})
		sleep(time.Minute)
		d.change(func() { d.during = func() { panic("a mistake of the store's") } })
		r.stop()
	})
}

// TestLogNames: a log of JSON, too, has passes, reasons and options by their
// names, not by their numbers.
func TestLogNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(10)
		f.fill(40)
		f.fails(func(c call) error {
			if c.req.Before.IsZero() {
				return nil
			}
			return faults["400"](c)
		})
		var log journal
		r := start(t, f, Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
		r.synced(t)
		for _, name := range []string{"500", "panics", "400"} {
			f.fails(faults[name])
			sleep(5 * time.Minute)
			f.fails(nil)
			sleep(10 * time.Minute)
		}
		seen := map[string]bool{}
		for line := range strings.Lines(log.String()) {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"pass", "reason", "option"} {
				value, has := entry[key]
				seen[key] = seen[key] || has
				if _, ok := value.(string); has && !ok {
					t.Errorf("%s is %v: %s", key, value, line)
				}
			}
		}
		if !seen["pass"] || !seen["reason"] || !seen["option"] {
			t.Errorf("saw only %v:\n%s", seen, log.String())
		}
	})
}

// TestSlowStore: where each grant takes too long to be saved nothing is read, and that is said.
func TestSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := native(100)
		f.fill(30)
		r := start(t, f, Options{})
		r.synced(t)
		sleep(time.Minute)
		f.change(func() { f.saving = maxGrantAge + time.Second })
		sleep(5 * time.Minute)
		if s := r.Status(); s.Up || s.LastReason != reason.State {
			t.Errorf("up %v, %v", s.Up, s.LastReason)
		}
		f.change(func() { f.saving = 0 })
		sleep(2 * time.Minute)
		if s := r.Status(); !s.Up {
			t.Errorf("not up again: %s", s.LastError)
		}
	})
}

// TestTooHeavy: pages of more than so many rows fail, in one of the ways in which a gateway
// ends what takes too long.
func TestTooHeavy(t *testing.T) {
	for _, why := range []reason.Reason{reason.Timeout, reason.Server} {
		t.Run(why.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := native(100)
				f.fill(300)
				f.fails(func(c call) error {
					if c.req.Top > 50 {
						return answered(c, map[reason.Reason]int{reason.Server: 502}[why], why, "")
					}
					return nil
				})
				r := start(t, f, Options{})
				r.synced(t)
				r.equal(t)
			})
		})
	}
}

// tripping is a clock that panics once, after so many rows were taken in.
type tripping struct {
	wallClock
	left atomic.Int64
}

func (c *tripping) Now() time.Time {
	if c.left.Load() > 0 && bytes.Contains(debug.Stack(), []byte("(*Loop).apply(")) && c.left.Add(-1) == 0 {
		panic("a mistake")
	}
	return time.Now()
}

// TestPanicWithinAPage: the rest of the page is read again.
func TestPanicWithinAPage(t *testing.T) {
	for rows := range int64(3) {
		synctest.Test(t, func(t *testing.T) {
			f := native(10)
			f.fill(200)
			clock := &tripping{}
			f.fault = func(c call) error {
				if c.n == 18 {
					clock.left.Store(1 + rows)
				}
				return nil
			}
			r := start(t, f, Options{Clock: clock})
			r.synced(t)
			sleep(time.Minute)
			r.equal(t)
			if clock.left.Load() > 0 || r.Status().Passes[pass.First].Failures[reason.Panic] != 1 {
				t.Errorf("the test shows nothing: %+v", r.Status().Passes)
			}
		})
	}
}
