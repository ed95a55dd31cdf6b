package app

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/collector"
)

// tuesday is a working day in the afternoon.
var tuesday = time.Date(2026, 11, 24, 16, 0, 0, 0, time.UTC)

// pastOf writes the history of the demo that args describe.
func pastOf(t testing.TB, length time.Duration, end time.Time, args ...string) string {
	t.Helper()
	o, err := Parse(append([]string{"demo-history"}, args...), io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := o.history.write(t.Context(), &text, o, end, length, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

var sampleLine = regexp.MustCompile(`^([a-z_0-9:]+)\{(.*)\} (\S+) (\d+)$`)

// readPast checks what OpenMetrics demands, and returns the values by series and
// second.
func readPast(t *testing.T, text string) map[string]map[int64]float64 {
	t.Helper()
	body, ended := strings.CutSuffix(text, "# EOF\n")
	if !ended || strings.Contains(body, "# EOF") {
		t.Error("the end is not marked, or not there alone")
	}
	values, last, closed, family := map[string]map[int64]float64{}, map[string]int64{}, map[string]bool{}, ""
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			if name := strings.Fields(line)[2]; name != family {
				if closed[name] {
					t.Errorf("%s is there twice", name)
				}
				family, closed[name] = name, true
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		// What is recorded has no target.
		recorded := strings.Contains(family, ":")
		if m == nil || !strings.HasPrefix(m[1], family) || recorded == strings.HasPrefix(m[2], `instance="i",job="j"`) {
			t.Fatalf("in the family %s: %s", family, line)
		}
		at, _ := strconv.ParseInt(m[4], 10, 64)
		value, err := strconv.ParseFloat(m[3], 64)
		key := m[1] + "{" + m[2] + "}"
		if err != nil || at <= last[key] {
			t.Fatalf("not sorted by time, or no number: %s", line)
		}
		if last[key] = at; values[key] == nil {
			values[key] = map[int64]float64{}
		}
		values[key][at] = value
	}
	return values
}

// TestHistory: all metrics of all tenants are there by its end, and the tenant in
// trouble has some.
func TestHistory(t *testing.T) {
	values := readPast(t, pastOf(t, 4*time.Hour, tuesday, "--demo.tenants=3", "--step=4m", "--instance=i", "--job=j"))
	first, last := tuesday.Add(-4*time.Hour).Unix(), tuesday.Unix()
	for _, tenant := range []string{"demo", "fabrikam", "northwind"} {
		for _, m := range collector.Metrics() {
			found := false
			for key, samples := range values {
				name := strings.TrimPrefix(key[:strings.IndexByte(key, '{')], m.Name)
				if (name == "" || name == "_bucket") && strings.Contains(key, `tenant="`+tenant+`"`) {
					_, is := samples[last]
					found = found || is
				}
			}
			if why := historyLacks[m.Name]; found == (why != "") {
				t.Errorf("%s of %s: there is %t, although %s", m.Name, tenant, found, cmp.Or(why, "nothing is said"))
			}
		}
		up, down := values[`m365_defender_up{instance="i",job="j",tenant="`+tenant+`"}`], 0
		for _, value := range up {
			if value == 0 {
				down++
			}
		}
		if _, early := up[first]; !early || up[last] != 1 && tenant != "northwind" || (down > 0) != (tenant == "northwind") {
			t.Errorf("%s: %d samples from %d on, %d of them down", tenant, len(up), first, down)
		}
	}
}

// historyLacks are the metrics that a demo's past has none of, and why.
var historyLacks = map[string]string{
	"m365_defender_open_incidents_by_tag":                        "it was not asked for",
	"m365_defender_open_incidents_by_device_group":               "it was not asked for",
	"m365_defender_open_incidents_by_technique":                  "it was not asked for",
	"m365_defender_resolved_incidents_by_detector":               "it was not asked for",
	"m365_defender_open_assignees":                               "it was not asked for",
	"m365_defender_busiest_assignee_open_incidents":              "it was not asked for",
	"m365_defender_open_incidents_by_assignee":                   "it was not asked for",
	"m365_defender_incidents_reassigned_total":                   "it was not asked for",
	"m365_defender_open_incidents_by_priority":                   "Microsoft Graph alone tells it",
	"m365_defender_api_fallback":                                 "the demo leaves no API open",
	"m365_defender_replicas":                                     "of the process",
	"m365_defender_tenant_takeovers_total":                       "of the process",
	"m365_defender_tenants_lost_total":                           "of the process",
	"m365_defender_replica_name_conflicts_total":                 "of the process",
	"m365_defender_state_up":                                     "nothing is saved",
	"m365_defender_state_request_duration_seconds":               "nothing is saved",
	"m365_defender_credential_expiry_timestamp_seconds":          "the demo has a client secret, whose end is not known",
	"m365_defender_state_last_save_timestamp_seconds":            "nothing is saved",
	"m365_defender_token_failures_total":                         "no token request fails",
	"m365_defender_tenants":                                      "of the process",
	"m365_defender_tenant_open_failures_total":                   "of the process",
	"m365_defender_config_last_reload_successful":                "of the process",
	"m365_defender_config_last_reload_success_timestamp_seconds": "of the process",
}

// TestHistoryJoins: what the history ends with is what a demo that starts then
// shows, and a history that ends later tells the same of the same instants.
func TestHistoryJoins(t *testing.T) {
	end := time.Now().Truncate(4 * time.Minute)
	past := readPast(t, pastOf(t, time.Hour, end, "--step=4m", "--instance=i", "--job=j"))
	before := readPast(t, pastOf(t, time.Hour, end.Add(-20*time.Minute), "--step=4m", "--instance=i", "--job=j"))
	compared, other := 0, map[int64][]string{}
	for key, samples := range before {
		if !strings.HasPrefix(key, "m365_defender_incidents{") {
			continue
		}
		for at, value := range samples {
			if now, ok := past[key][at]; ok {
				if compared++; now != value {
					other[at] = append(other[at], key)
				}
			}
		}
	}
	if compared < 100 {
		t.Errorf("compared %d samples", compared)
	}
	// What is scraped was refreshed a step before, and the two histories do that at
	// moments that are a fraction of a second apart: of what changes between these, one
	// may tell, and the other not yet.
	clock := end.Add(-2 * time.Hour)
	tenant := simulated(0, "defender", true, func() time.Time { return clock })
	refreshed := func(at int64) []map[string]float64 {
		var were []map[string]float64
		for clock = time.Unix(at-4*60, 0); clock.Unix() < at-4*60+5; clock = clock.Add(time.Second / 2) {
			counts := map[string]float64{}
			for of, n := range tenant.Truth(clock, 14*24*time.Hour).Incidents {
				key := fmt.Sprintf(`m365_defender_incidents{instance="i",job="j",assigned=%q,severity=%q,status=%q,tenant="demo"}`, of[2], of[0], of[1])
				counts[key] = float64(n)
			}
			were = append(were, counts)
		}
		return were
	}
	check := func(were []map[string]float64, key string, at int64, value float64) {
		could := make([]float64, len(were)) // what nothing is counted of is 0
		for i := range were {
			could[i] = were[i][key]
		}
		if !slices.Contains(could, value) {
			t.Errorf("%s at %d: %v, and there were %v", key, at, value, could)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(other)) {
		were := refreshed(at)
		for _, key := range other[at] {
			check(were, key, at, past[key][at])
			check(were, key, at, before[key][at])
		}
	}

	// A demo that starts now begins with that.
	were, ends := refreshed(end.Unix()), map[string]bool{}
	for key := range past {
		ends[key] = strings.HasPrefix(key, "m365_defender_incidents{")
	}
	for _, counts := range were {
		if len(counts) < 10 {
			t.Errorf("a demo begins with %d kinds of incidents", len(counts))
		}
		for key := range counts {
			ends[key] = true
		}
	}
	for key, is := range ends {
		if is {
			check(were, key, end.Unix(), past[key][end.Unix()])
		}
	}
}

// TestHistoryFlags: what cannot be used is told in a sentence.
func TestHistoryFlags(t *testing.T) {
	withoutEnvironment(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--demo", "--demo.tenants=0"}, `--demo.tenants is "0"; it must be a number from 1 to 10`},
		{[]string{"--demo", "--demo.tenants=11"}, `--demo.tenants is "11"; it must be a number from 1 to 10`},
		{[]string{"--demo", "--demo.tenants=-1"}, `--demo.tenants is "-1"; it must be a number from 1 to 10`},
		{[]string{"--demo", "--demo.tenants=three"}, `--demo.tenants is "three"; it must be a number from 1 to 10`},
		{[]string{"--demo.tenants=3"}, "--demo.tenants is given without --demo"},
		{[]string{"check", "--demo.tenants=3"}, "--demo.tenants is given without --demo"},
		{[]string{"--demo.tenants=3", "--config.file=x"}, "--demo.tenants is given without --demo"},
		{[]string{"demo-history", "--config.file=x"}, "demo-history is given together with --config.file"},
		{[]string{"demo-history", "--step=5m"}, `--step is "5m"; it must be a duration of whole seconds, from 10s to less than 5m`},
		{[]string{"demo-history", "--step=1s"}, `--step is "1s"; it must be`},
		{[]string{"demo-history", "--step=often"}, `--step is "often"; it must be`},
	} {
		var stdout, stderr bytes.Buffer
		code := Run(t.Context(), test.args, &stdout, &stderr)
		if text := stderr.String(); code != ExitUsage || !strings.Contains(text, test.want) || strings.Count(text, "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("%v: exit code %d, %q; want %q", test.args, code, text, test.want)
		}
	}
	o, err := Parse([]string{"--demo", "--demo.tenants=3"}, io.Discard, io.Discard)
	if err != nil || o.demoTenants != 3 || o.tenants[0].Lookback != 14*24*time.Hour {
		t.Errorf("got %v and %d tenants", err, o.demoTenants)
	}
	var stderr bytes.Buffer
	if code := Run(t.Context(), []string{"demo-history", "--output=" + filepath.Join(t.TempDir(), "no", "file")}, io.Discard, &stderr); code != ExitRuntime ||
		!strings.Contains(stderr.String(), "--output: ") {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

// TestDemoTenants: three tenants are served, each with what is its own, and the
// process is there at once.
func TestDemoTenants(t *testing.T) {
	withoutEnvironment(t)
	begun := time.Now()
	a := started(t, &http.Client{}, "http", "--demo", "--demo.tenants=3")
	t.Logf("started after %v", time.Since(begun))
	resp, err := http.Get("http://" + a.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"demo", "fabrikam", "northwind"} {
		if !bytes.Contains(text, []byte(`m365_defender_api_quota_limit{tenant="`+name+`",window="minute"} 50`)) {
			t.Errorf("%s is not served", name)
		}
	}
}

// TestHistoryOutput: a file has what else is written to the standard output.
func TestHistoryOutput(t *testing.T) {
	withoutEnvironment(t)
	o, err := Parse([]string{"demo-history", "--output=" + filepath.Join(t.TempDir(), "history")}, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeHistory(t.Context(), o, time.Hour, slog.New(slog.DiscardHandler), io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(o.history.output)
	if err != nil || !bytes.HasSuffix(text, []byte("# EOF\n")) {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
}

func BenchmarkHistory(b *testing.B) {
	for b.Loop() {
		pastOf(b, 3*24*time.Hour, tuesday)
	}
}
