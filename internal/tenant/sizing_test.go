package tenant

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// rowsPerCall is what the API gives at most, callTime what docs/sizing.md
// assumes of one call.
const (
	rowsPerCall = 100
	callTime    = time.Second
)

// firstCalls is what a first sync costs: each of the three open statuses is a
// list of its own, as many calls see that they have left out nothing old, then all incidents
// are read. A list that fills its last page needs one more call to see its end, and one
// shows that nothing is behind.
func firstCalls(open, all int) (stage, total int) {
	stage = open/rowsPerCall + 5
	return stage, stage + all/rowsPerCall + 5
}

// spend is how long so many calls of a pass take, one after the other, with an
// own ledger that is its alone. From calls number quiet on there are
// deltas beside them.
func spend(t *testing.T, cfg config.Tenant, p pass.Pass, quiet, calls int) (quietly, all time.Duration) {
	t.Helper()
	l, err := newAccountLedger(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Reserve(time.Now(), 1, cfg.Interval)
	start := time.Now()
	now, delta := start, start
	for made := 0; made < calls; {
		next := p
		if made >= quiet && !delta.After(now) {
			next = pass.Delta
		}
		grant, at, _ := l.Take(now, next)
		switch {
		case grant == 0 && made >= quiet && next != pass.Delta && delta.Before(at):
			now = delta
		case grant == 0:
			now = at
		default:
			now = now.Add(callTime)
			l.Settle(grant, now)
			if next == pass.Delta {
				delta = delta.Add(cfg.Interval)
			} else if made++; made == quiet {
				quietly, delta = now.Sub(start), now
			}
		}
	}
	return quietly, now.Sub(start)
}

// people write a duration with what matters of it.
func people(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 90*time.Minute:
		return fmt.Sprintf("%.0f min", d.Minutes())
	default:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
}

func withShare(t *testing.T, share float64) config.Tenant {
	t.Helper()
	cfg := tenanttest.Config()
	cfg.QuotaShare = share
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

var update = flag.Bool("update", false, "write the tables of docs/sizing.md anew")

var shares = []float64{0.8, 0.5, 0.2}

func firstTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| open | all | calls until open counts | calls until all counts | open known after | all known after, share 0.8 | share 0.5 | share 0.2 | a sweep takes, share 0.8 |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, size := range []struct{ open, all int }{{300, 5_000}, {1_200, 12_000}, {4_000, 50_000}, {4_000, 100_000}, {10_000, 250_000}, {20_000, 1_000_000}} {
		stage, total := firstCalls(size.open, size.all)
		quietly, _ := spend(t, withShare(t, shares[0]), pass.First, stage, stage)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s ", grouped(size.open), grouped(size.all), grouped(stage), grouped(total), people(quietly))
		for _, share := range shares {
			_, all := spend(t, withShare(t, share), pass.First, stage, total)
			fmt.Fprintf(&b, "| %s ", people(all))
		}
		_, sweep := spend(t, withShare(t, shares[0]), pass.Sweep, 0, total)
		fmt.Fprintf(&b, "| %s |\n", people(sweep))
	}
	return b.String()
}

func shareTable(t *testing.T) string {
	var b strings.Builder
	b.WriteString("| share | calls a minute | calls an hour | hour window binds after | changes in 10 min without a longer interval | interval at 1,000 changes in 10 min | at 5,000 |\n|---|---|---|---|---|---|---|\n")
	for _, share := range []float64{1, 0.8, 0.5, 0.4, 0.2, 0.1} {
		cfg := withShare(t, share)
		l, err := newAccountLedger(cfg)
		if err != nil {
			t.Fatal(err)
		}
		pace := func(calls int) time.Duration { return max(cfg.Interval, l.Pace(time.Now(), calls)) }
		free := 1
		for pace(free+1) == cfg.Interval {
			free++
		}
		minute, hour := l.Usage(time.Now())[0].Effective, l.Usage(time.Now())[1].Effective
		fmt.Fprintf(&b, "| %v | %d | %s | %.0f min of full use | %s | %s | %s |\n", share, minute, grouped(hour), float64(hour)/float64(minute),
			grouped(free*rowsPerCall-1), people(pace(1_000/rowsPerCall+1)), people(pace(5_000/rowsPerCall+1)))
	}
	return b.String()
}

// grouped writes 12000 as 12,000.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// TestSizing keeps the tables of docs/sizing.md what the ledger says.
func TestSizing(t *testing.T) {
	const file = "../../docs/sizing.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := text
	for name, table := range map[string]string{"first": firstTable(t), "share": shareTable(t)} {
		between := regexp.MustCompile(`(?s)(<!-- table ` + name + ` -->\n).*?(<!-- end -->)`)
		if !between.Match(want) {
			t.Fatalf("%s has no place for the table %s", file, name)
		}
		want = between.ReplaceAll(want, []byte("${1}"+table+"${2}"))
	}
	if *update {
		err = os.WriteFile(file, want, 0o644)
	} else if !bytes.Equal(text, want) {
		err = fmt.Errorf("%s is not what the ledger says; write it anew: go test ./internal/tenant -run Sizing -update", file)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestFirstCalls holds the arithmetic against the exporter and a simulated
// tenant: as many calls at most, and as long.
func TestFirstCalls(t *testing.T) {
	inBubble(t, simulator.Options{Seed: 11, Incidents: 5_000, Alerts: -1}, nil, func(b *bubble) {
		start := time.Now()
		for b.tenant.loop.Status().Passes[pass.First].LastSuccess.IsZero() && time.Since(start) < time.Hour {
			b.wait(time.Second)
		}
		took := time.Since(start)
		b.exact()
		open := 0.0
		for labels, n := range b.series("incidents") {
			if !strings.Contains(labels, "status=resolved") {
				open += n
			}
		}
		_, want := firstCalls(int(open), 5_000)
		// Some deltas are among them; what was merged away is on the pages, too.
		got := int(b.series("api_requests_total")["code=200,operation=list"])
		if got > want+int(took/b.tenant.config.Interval)+2 || got < want-5 {
			t.Errorf("%d calls for a tenant of 5,000 with %.0f open, want about %d", got, open, want)
		}
		_, most := spend(t, b.tenant.config, pass.First, 0, want)
		if took > most {
			t.Errorf("the first sync took %v, the arithmetic says %v", took, most)
		}
	})
}
