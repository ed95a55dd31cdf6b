package state

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/incident"
)

var epoch = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

var options = incident.MirrorOptions{
	Lookback:   180 * 24 * time.Hour,
	Thresholds: []time.Duration{time.Hour, 24 * time.Hour, 720 * time.Hour},
}

// version is one of a realistic tenant: most incidents are merged or resolved,
// those that are not have one alert or a few.
func version(r *rand.Rand, id int64, at time.Time) incident.Incident {
	in := incident.Incident{
		ID: id, Created: at, Updated: at.Add(time.Duration(r.Int64N(int64(72*time.Hour))) / 100 * 100),
		Severity: incident.Severity(r.IntN(incident.NumSeverities)), Assigned: r.IntN(3) == 0,
	}
	switch n := r.IntN(10); {
	case n < 6:
		in.Status = incident.StatusRedirected
		return in
	case n < 9:
		in.Status = incident.StatusResolved
	default:
		in.Status = incident.StatusActive
	}
	for range 1 + r.IntN(4) {
		in.Alerts = append(in.Alerts, incident.Alert{
			Severity: in.Severity, Status: incident.AlertStatus(r.IntN(incident.NumAlertStatuses)),
			Source: fmt.Sprint("source_", r.IntN(7)), Category: fmt.Sprint("category_", r.IntN(15)),
		})
	}
	return in
}

// filled saves a tenant of n incidents the way a first sync does: a page at a
// time, newest last update first.
func filled(b testing.TB, tenant Tenant, n int) *incident.Mirror {
	b.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	m := incident.NewMirror(options)
	// Ids fall with the last update, give or take a few days.
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(n - i)
	}
	block := n/50 + 1
	for from := 0; from < n; from += block {
		part := ids[from:min(from+block, n)]
		r.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
	}
	for i, id := range ids {
		in := version(r, id, epoch.Add(-time.Duration(i)*15*time.Second))
		m.Apply(&in)
		if i%100 == 99 {
			saveMirror(b, tenant, m)
		}
	}
	saveMirror(b, tenant, m)
	return m
}

func saveMirror(b testing.TB, tenant Tenant, m *incident.Mirror) {
	b.Helper()
	if err := tenant.Save(m.Export); err != nil {
		b.Fatal(err)
	}
	m.Kept()
}

// BenchmarkMillion is a store of a million incidents: its size, how long it
// takes to read it into a mirror that is ready for its first snapshot, and to
// save a delta of a hundred changes.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	dir := b.TempDir()
	store := unpaced(b, dir)
	tenant, err := store.Open(contoso)
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	m := filled(b, tenant, n)
	b.Logf("%d rows saved in %d steps in %v, %d MiB", m.Len(), n/100, time.Since(began).Round(time.Second), tenant.Size()>>20)
	_ = tenant.Close()
	mustClose(b, store)
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			tenant, err := store.Open(contoso)
			if err != nil {
				b.Fatal(err)
			}
			var s *incident.Snapshot
			err = tenant.Load(func(saved *incident.Saved) error {
				m, err := incident.RestoreMirror(options, saved, epoch)
				if err == nil {
					s = m.Snapshot(epoch)
				}
				return err
			})
			if err != nil || s.Rows != m.Len() {
				b.Fatal(err)
			}
			b.ReportMetric(float64(tenant.Size())/(1<<20), "MiB")
			b.ReportMetric(float64(m.Len()), "rows")
			_ = tenant.Close()
			mustClose(b, store)
		}
	})
	tenant, err = store.Open(contoso)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tenant.Close() }()
	if err := tenant.Load(func(saved *incident.Saved) (err error) {
		m, err = incident.RestoreMirror(options, saved, epoch)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	// Most changes concern recent incidents; the worst case is anywhere.
	for _, among := range []int64{20_000, n} {
		b.Run(fmt.Sprint("save 100 changes among ", among), func(b *testing.B) { saveHundreds(b, tenant, m, n-among, among) })
	}
}

func saveHundreds(b *testing.B, tenant Tenant, m *incident.Mirror, from, among int64) {
	r, at := rand.New(rand.NewPCG(1, 1)), time.Duration(0)
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		at += time.Second
		for range 100 {
			in := version(r, 1+from+r.Int64N(among), epoch)
			in.Updated = epoch.AddDate(1, 0, 0).Add(at)
			m.Apply(&in)
		}
		b.StartTimer()
		began := time.Now()
		saveMirror(b, tenant, m)
		took = append(took, time.Since(began))
	}
	reportQuantiles(b, took)
	b.ReportMetric(float64(tenant.Size())/(1<<20), "MiB")
}

// BenchmarkSaveLedger is the price of a call, at a pace that nothing slows down:
// of one tenant by itself, and of 256 at once, which share their flushes. A ledger
// of 1,200 grants is as large as it gets.
func BenchmarkSaveLedger(b *testing.B) {
	for _, tenants := range []int{1, 256} {
		b.Run(fmt.Sprint(tenants, " at once"), func(b *testing.B) {
			store := unpaced(b, b.TempDir())
			opened := make([]Tenant, tenants)
			for i := range opened {
				opened[i] = mustOpen(b, store, Key{fmt.Sprint(i), "defender"})
			}
			ledger := make([]byte, 1200*3)
			var mu sync.Mutex
			var took []time.Duration
			for b.Loop() {
				var group sync.WaitGroup
				for _, tenant := range opened {
					group.Go(func() {
						began := time.Now()
						if _, err := tenant.SaveLedger(ledger); err != nil {
							b.Error(err)
						}
						mu.Lock()
						defer mu.Unlock()
						took = append(took, time.Since(began))
					})
				}
				group.Wait()
			}
			reportQuantiles(b, took)
			b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "ledgers/s")
		})
	}
}

// unpaced is a store whose groups follow each other at once.
func unpaced(b *testing.B, dir string) *file {
	b.Helper()
	store := newStore(b, "file:"+dir).(*file)
	store.incidents.pace, store.ledgers.pace = 0, 0
	return store
}

func reportQuantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// TestGrowth: a simulated month of churn, at a small scale, leaves the file no
// larger than a few times what a fresh one would be.
func TestGrowth(t *testing.T) { synctest.Test(t, growth) }

func growth(t *testing.T) {
	dir := t.TempDir()
	store := newStore(t, "file:"+dir)
	tenant := mustOpen(t, store, contoso)
	const rows, days, perDay = 5000, 30, 500 // everything is replaced three times
	o := options
	o.Lookback = 10 * 24 * time.Hour
	m := incident.NewMirror(o)
	r := rand.New(rand.NewPCG(3, 3))
	var id int64
	now := epoch
	var first int64
	for day := range days {
		for range 48 {
			now = now.Add(30 * time.Minute)
			for range perDay / 48 {
				id++
				in := version(r, id, now)
				in.Updated = now
				m.Apply(&in)
			}
			for range 20 {
				in := version(r, max(1, id-r.Int64N(rows)), now)
				in.Updated = now
				m.Apply(&in)
			}
			m.Snapshot(now)
			saveMirror(t, tenant, m)
		}
		if day == 11 {
			first = tenant.Size()
		}
	}
	if got := tenant.Size(); got > 2*first {
		t.Errorf("%d bytes after twelve days, %d after a month", first, got)
	}
	mustClose(t, tenant)
	mustClose(t, store)
	info, err := os.Stat(filepath.Join(dir, "incidents.db"))
	if err != nil {
		t.Fatal(err)
	}
	if got, limit := info.Size(), int64(m.Len())*400+1<<20; got > limit {
		t.Errorf("%d bytes for %d rows, want at most %d", got, m.Len(), limit)
	}
}
