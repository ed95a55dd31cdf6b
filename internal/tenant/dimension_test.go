package tenant

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// everyDimension is on.
var everyDimension = config.Dimensions{
	Tags: []string{"VIP", "needs review", "nobody has this"}, DeviceGroups: []string{"*"}, Techniques: true, Detectors: 3, Assignees: config.AssigneesNames,
}

// compareDimensions fails the test if what is counted on request differs from the
// truth. shown is what is shown of an owner.
func compareDimensions(b *bubble, shown func(name string) string) {
	b.t.Helper()
	d := b.tenant.config.Dimensions
	truth := b.sim.Truth(b.tenant.loop.Snapshot().At, b.tenant.config.Lookback)
	want := map[string]map[string]float64{"open_incidents_by_tag": {}, "open_incidents_by_device_group": {}, "open_incidents_by_technique": {}, "resolved_incidents_by_detector": {}, "open_incidents_by_assignee": {}}
	for k, n := range truth.Tags {
		if i := slices.IndexFunc(d.Tags, func(tag string) bool { return strings.EqualFold(tag, k[1]) }); i >= 0 {
			want["open_incidents_by_tag"][fmt.Sprintf("severity=%s,tag=%s", k[0], d.Tags[i])] += float64(n)
		}
	}
	for k, n := range truth.DeviceGroups {
		if slices.Contains(d.DeviceGroups, "*") || slices.Contains(d.DeviceGroups, k[1]) {
			want["open_incidents_by_device_group"][fmt.Sprintf("device_group=%s,severity=%s", k[1], k[0])] = float64(n)
		}
	}
	for k, n := range truth.Techniques {
		if d.Techniques {
			want["open_incidents_by_technique"][fmt.Sprintf("severity=%s,technique=%s", k[0], k[1])] = float64(n)
		}
	}
	totals := map[string]int{}
	for k, n := range truth.Detectors {
		totals[k[0]] += n
	}
	top := slices.SortedFunc(maps.Keys(totals), func(a, b string) int { return cmp.Or(totals[b]-totals[a], strings.Compare(a, b)) })
	for k, n := range truth.Detectors {
		if d.Detectors > 0 {
			if slices.Index(top, k[0]) >= d.Detectors {
				k[0] = "other"
			}
			want["resolved_incidents_by_detector"][fmt.Sprintf("classification=%s,detector=%s", k[1], k[0])] += float64(n)
		}
	}
	most, persons := 0.0, map[string]float64{}
	for name, n := range truth.Owners {
		persons[strings.ToLower(name)] += float64(n)
	}
	for name, n := range persons {
		most = max(most, n)
		if d.Assignees == config.AssigneesHashed || d.Assignees == config.AssigneesNames {
			want["open_incidents_by_assignee"]["assignee="+shown(name)] = n
		}
	}
	for name, want := range want {
		got := b.series(name)
		maps.DeleteFunc(got, func(_ string, n float64) bool { return n == 0 })
		if !maps.Equal(got, want) {
			b.t.Errorf("%s\ngot  %v\nwant %v", name, got, want)
		}
	}
	if d.Assignees == config.AssigneesOff {
		return
	}
	if got := b.value("open_assignees", ""); got != float64(len(persons)) {
		b.t.Errorf("%v persons, want %d", got, len(persons))
	}
	if got := b.value("busiest_assignee_open_incidents", ""); got != most {
		b.t.Errorf("the busiest has %v, want %v", got, most)
	}
}

// onRequest are the metrics that are absent by default.
var onRequest = []string{
	"open_incidents_by_tag", "open_incidents_by_device_group", "open_incidents_by_technique", "resolved_incidents_by_detector", "open_incidents_by_assignee",
	"open_assignees", "busiest_assignee_open_incidents",
}

func writeKey(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDimensionsChange: whatever is turned on, off or made with another key, what
// is shown is right: nothing until a sweep has read everything, and never a
// hand-over that was none.
func TestDimensionsChange(t *testing.T) {
	first, second := writeKey(t, "0123456789abcdef\n"), writeKey(t, "another key, also long enough")
	steps := []struct {
		name      string
		d         config.Dimensions
		withdrawn bool // until a sweep
	}{
		{"count", config.Dimensions{Assignees: config.AssigneesCount, AssigneesKeyFile: first}, true},
		{"hashed by the same key", config.Dimensions{Assignees: config.AssigneesHashed, AssigneesKeyFile: first}, false},
		{"another key", config.Dimensions{Assignees: config.AssigneesHashed, AssigneesKeyFile: second}, true},
		{"names and all", everyDimension, true},
		{"more detectors", config.Dimensions{Tags: everyDimension.Tags, DeviceGroups: []string{"*"}, Techniques: true, Detectors: 9, Assignees: config.AssigneesNames}, false},
		{"fewer tags, one group", config.Dimensions{Tags: []string{"VIP"}, DeviceGroups: []string{"Servers"}, Assignees: config.AssigneesOff}, true},
		{"off", config.Dimensions{Assignees: config.AssigneesOff}, false},
		{"names", config.Dimensions{Assignees: config.AssigneesNames}, true},
	}
	for _, api := range config.APIs() {
		t.Run(api, func(t *testing.T) {
			change := func(c *config.Tenant) { c.API = api }
			withLives(t, simulator.Options{Seed: 5, Incidents: 200}, change, func(l *lives) {
				l.sim.SetRoles(simulator.DefaultRole, simulator.DefaultGraphRole)
				r := rand.New(rand.NewPCG(5, 5))
				for range 100 {
					act(r, l.sim)
				}
				l.wait(5 * time.Minute)
				for _, step := range steps {
					l.stop()
					l.cfg.Dimensions = step.d
					if err := l.cfg.Complete(); err != nil {
						t.Fatal(err)
					}
					l.construct(l.cfg, l.store())
					l.tenant.Close()
					for _, name := range onRequest {
						if n := len(l.series(name)); n > 0 && step.withdrawn {
							t.Errorf("%s: %d series of %s before a sweep", step.name, n, name)
						}
					}
					l.begin()
					l.wait(10 * time.Minute)
					key, shown := []byte("0123456789abcdef"), strings.ToLower
					if step.d.AssigneesKeyFile == second {
						key = []byte("another key, also long enough")
					}
					if step.d.Assignees == config.AssigneesHashed {
						shown = func(name string) string { return keyed(key, []byte(name)) }
					}
					compareDimensions(l.bubble, shown)
					l.exact()
					for labels, n := range l.series("incidents_reassigned_total") {
						if n != 0 {
							t.Errorf("%s: %v hand-overs of %s", step.name, n, labels)
						}
					}
					if t.Failed() {
						t.Fatalf("after %s", step.name)
					}
				}
			})
		})
	}
}

// TestKey: what cannot be a key is refused, and a change of the file is seen.
func TestKey(t *testing.T) {
	open := func(path string) (*Tenant, error) {
		cfg := tenanttest.Config()
		cfg.Assignees, cfg.AssigneesKeyFile = config.AssigneesCount, path
		if err := cfg.Complete(); err != nil {
			t.Fatal(err)
		}
		return New(cfg, Dependencies{Transport: tenanttest.NewHosts(t), Logger: slog.New(slog.DiscardHandler)})
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "missing"), writeKey(t, "fifteen bytes..\n"), t.TempDir(), writeKey(t, strings.Repeat("x", maxKey+1))} {
		if _, err := open(path); err == nil || !strings.Contains(err.Error(), "key of the assignees") || strings.Contains(err.Error(), "fifteen") {
			t.Errorf("%s: %v", path, err)
		}
	}
	path := writeKey(t, "sixteen bytes...")
	tenant, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	if !tenant.KeyHolds() {
		t.Error("the key has not changed")
	}
	if err := os.WriteFile(path, []byte("sixteen bytes.,."), 0o600); err != nil {
		t.Fatal(err)
	}
	if tenant.KeyHolds() {
		t.Error("the key has changed")
	}
	if got := keyed([]byte("key"), []byte("The quick brown fox jumps over the lazy dog")); got != "f7bc83f430538424" {
		t.Errorf("HMAC-SHA256: got %s", got)
	}
}
