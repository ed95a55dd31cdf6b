package collector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"m365_defender_exporter/collector/refresh"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/listing"
)

var formats = []Wanted{
	{Format: expfmt.NewFormat(expfmt.TypeTextPlain)},
	{Format: expfmt.FmtOpenMetrics_0_0_1},
	{Format: expfmt.FmtOpenMetrics_1_0_0},
	{Format: expfmt.FmtOpenMetrics_0_0_1, CreatedLines: true},
	{Format: expfmt.FmtOpenMetrics_1_0_0, CreatedLines: true},
	{Format: expfmt.NewFormat(expfmt.TypeProtoDelim)},
	{Format: expfmt.NewFormat(expfmt.TypeProtoDelim), CreatedLines: true},
	{Format: expfmt.NewFormat(expfmt.TypeTextPlain), CreatedLines: true},
}

// title names a test.
func title(w Wanted) string { return fmt.Sprintf("%s created=%v", w.Format, w.CreatedLines) }

// live is a refresher whose results change.
type live struct{ fixed }

func (l *live) publish(s *incident.Snapshot, status *refresh.Status) { l.fixed = fixed{s, status} }

// fleet is a set of tenants in all stages, named as badly as may be.
func fleet(now func() time.Time) (all []*Series, refreshers []*live, apis []*API) {
	for i, name := range []string{"contoso", `back\slash "quote"`, "line\nbreak", "tab\tünï→", "z"} {
		r, api := &live{}, NewAPI()
		coverage := []incident.Coverage{complete, openOnly, complete, {}, complete}[i]
		s := tenantMirror().Snapshot(epoch)
		s.Coverage = coverage
		s.AlertsAvailable = i != 2
		r.publish(s, statusOf(coverage))
		if i == 4 { // as of a state without start times
			s.Flows.Start, r.status.Start = time.Time{}, time.Time{}
		}
		if !coverage.Open {
			r.snapshot = nil
		}
		api.Request(listing.OperationList, 200, 120*time.Millisecond, int64(i)<<40)
		api.Request(listing.OperationGet, 0, time.Second/3, 5)
		api.Token("invalid_client")
		values := NewFunc(QuotaUsed, func(emit func(float64, ...string)) {
			for j, v := range []float64{0, 1, -1, 1.5, 999_999, 1e6, 1_234_567, 1e21, -0.001, math.NaN(), math.Inf(1), math.Inf(-1), 1.7955144e9, 5e-324, -1e6} {
				emit(v, fmt.Sprint(j))
			}
		})
		failures := NewFunc(StateSaveFailures, func(emit func(float64, ...string)) { emit(float64(i)) }).Since(epoch.Add(time.Duration(i)))
		all = append(all, NewSeries(name, NewTenant(Options{Refresher: r, MaxAge: time.Hour, Now: now}), api, values, failures))
		refreshers, apis = append(refreshers, r), append(apis, api)
	}
	return all, refreshers, apis
}

// gathered is what a registry says of the same tenants.
func gathered(t testing.TB, tenants []*Series, process prometheus.Gatherer) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, s := range tenants {
		for _, source := range s.Sources() {
			prometheus.WrapRegistererWith(prometheus.Labels{"tenant": s.tenant}, registry).MustRegister(source)
		}
	}
	families, err := prometheus.Gatherers{registry, process}.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func processRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	for _, name := range []string{"a_first", Namespace + "_between", "z_last"} {
		r.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "Of the process."}))
	}
	return r
}

// write writes an exposition from which no tenant is left out.
func write(t testing.TB, w io.Writer, wanted Wanted, process []*dto.MetricFamily, tenants []*Series) {
	t.Helper()
	e, err := Encode(wanted, process, tenants)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.LeftOut) > 0 {
		t.Fatal(e.LeftOut)
	}
	if _, err := e.WriteTo(w); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, wanted Wanted, tenants []*Series) {
	t.Helper()
	process := processRegistry()
	families := gathered(t, tenants, process)
	own, err := process.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got, want bytes.Buffer
	write(t, &got, wanted, own, tenants)
	encoder := expfmt.NewEncoder(&want, wanted.Format, createdLines(wanted.CreatedLines)...)
	for _, family := range families {
		if wanted.has(family.GetName()) {
			if err := encoder.Encode(family); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := encoder.(expfmt.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	if wanted.Format.FormatType() == expfmt.TypeProtoDelim {
		sameMessages(t, &got, &want)
		return
	}
	g, w := blocks(got.String()), blocks(want.String())
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s: got\n%s\nwant\n%s", title(wanted), g[min(i, len(g)-1)], w[min(i, len(w)-1)])
		}
	}
}

// blocks are the families of a text in their order, with the lines of each
// sorted: their order has no meaning.
func blocks(text string) (all []string) {
	for family := range strings.SplitSeq(text, "# HELP ") {
		lines := strings.Split(family, "\n")
		slices.Sort(lines)
		all = append(all, strings.Join(lines, "\n"))
	}
	return all
}

func sameMessages(t *testing.T, got, want io.Reader) {
	t.Helper()
	read := func(r io.Reader) (all []*dto.MetricFamily) {
		decoder := expfmt.NewDecoder(r, expfmt.NewFormat(expfmt.TypeProtoDelim))
		for {
			family := &dto.MetricFamily{}
			if err := decoder.Decode(family); errors.Is(err, io.EOF) {
				return all
			} else if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(family.Metric, func(a, b *dto.Metric) int { return strings.Compare(fmt.Sprint(a.Label), fmt.Sprint(b.Label)) })
			all = append(all, family)
		}
	}
	g, w := read(got), read(want)
	if len(g) != len(w) {
		t.Fatalf("%d families, want %d", len(g), len(w))
	}
	for i := range g {
		if !proto.Equal(g[i], w[i]) {
			t.Errorf("got  %v\nwant %v", g[i], w[i])
		}
	}
}

// TestSeriesAreWhatTheLibraryWrites: in every format, whatever changes between
// two scrapes, and whatever is filtered.
func TestSeriesAreWhatTheLibraryWrites(t *testing.T) {
	now := epoch
	tenants, refreshers, apis := fleet(func() time.Time { return now })
	steps := []struct {
		name   string
		change func()
	}{
		{"first", func() {}},
		{"nothing", func() {}},
		{"call", func() { apis[0].Request(listing.OperationList, 429, time.Second, 10) }},
		{"wait", func() { apis[1].Waited("hour", time.Second) }},
		{"token", func() { apis[4].Token("timeout") }},
		{"status", func() {
			s := *refreshers[0].status
			s.Up = false
			refreshers[0].publish(refreshers[0].snapshot, &s)
		}},
		{"snapshot", func() {
			m := tenantMirror()
			m.Apply(&incident.Incident{ID: 77, Created: epoch, Updated: epoch.Add(time.Hour), Severity: incident.SeverityLow, Status: incident.StatusResolved, Assigned: true})
			s := m.Snapshot(epoch)
			s.Coverage = complete
			refreshers[4].publish(s, refreshers[4].status)
		}},
		{"known", func() {
			s := tenantMirror().Snapshot(epoch)
			s.Coverage = openOnly
			refreshers[3].publish(s, statusOf(openOnly))
		}},
		{"too old", func() { now = epoch.Add(time.Hour + time.Second) }},
		{"young again", func() { now = epoch }},
		{"removed", func() { tenants = tenants[:3] }},
		{"none", func() { tenants = nil }},
	}
	for _, step := range steps {
		step.change()
		for _, wanted := range formats {
			t.Run(step.name+" "+title(wanted), func(t *testing.T) {
				same(t, wanted, tenants)
				wanted.Metric = func(name string) bool { return name == incidents.Name || name == "z_last" || name == apiDuration.Name }
				same(t, wanted, tenants)
			})
		}
	}
}

func TestEncodes(t *testing.T) {
	for _, wanted := range formats {
		if !Encodes(wanted.Format) {
			t.Errorf("%s: is not encoded", title(wanted))
		}
	}
	for _, typ := range []expfmt.FormatType{expfmt.TypeProtoText, expfmt.TypeProtoCompact} {
		if format := expfmt.NewFormat(typ); Encodes(format) {
			t.Errorf("%s: is said to be encoded", format)
		}
	}
}

// bigMirror is a tenant of 2,000 incidents.
func bigMirror(seed uint64) *incident.Mirror {
	const day = 24 * time.Hour
	m := incident.NewMirror(incident.MirrorOptions{Lookback: 180 * day, Thresholds: []time.Duration{
		time.Hour, 4 * time.Hour, 8 * time.Hour, day, 3 * day, 7 * day, 30 * day,
	}})
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 2000 {
		in := incident.Incident{
			ID: int64(i + 1), Severity: incident.Severity(1 + r.IntN(4)), Status: incident.StatusResolved,
			Classification: incident.Classification(r.IntN(4)), Determination: incident.Determination(r.IntN(5)),
			Created: epoch.Add(-time.Duration(r.IntN(4000)) * time.Hour),
		}
		in.Updated = in.Created
		if r.IntN(10) == 0 {
			in.Status = incident.StatusActive
		}
		for range r.IntN(4) {
			in.Alerts = append(in.Alerts, incident.Alert{
				Severity: incident.Severity(1 + r.IntN(4)), Status: incident.AlertStatus(1 + r.IntN(3)),
				Source: fmt.Sprint("microsoft_defender_source_", r.IntN(5)), Category: fmt.Sprint("category_", r.IntN(8)),
			})
		}
		m.Apply(&in)
	}
	m.StartFlows(epoch, epoch)
	return m
}

// thousand tenants of 2,000 incidents.
func thousand() (all []*Series, refreshers []*live, apis []*API) {
	m := bigMirror(1)
	s := m.Snapshot(epoch)
	s.Coverage = complete
	for i := range 1000 {
		r, api := &live{}, NewAPI()
		r.publish(s, statusOf(complete))
		used := NewFunc(QuotaUsed, func(emit func(float64, ...string)) { emit(3, "minute"); emit(131, "hour") })
		all = append(all, NewSeries(fmt.Sprintf("tenant-%04d", i), NewTenant(Options{Refresher: r, MaxAge: time.Hour, Now: func() time.Time { return epoch }}), api, used))
		refreshers, apis = append(refreshers, r), append(apis, api)
	}
	return all, refreshers, apis
}

// BenchmarkTenants writes 1,000 tenants: when nothing has changed since the
// last scrape, and when every tenant was refreshed. BenchmarkTenantsByRegistry is the
// same by a registry, to compare with.
func BenchmarkTenants(b *testing.B) {
	for _, wanted := range []Wanted{
		{Format: expfmt.FmtOpenMetrics_1_0_0}, {Format: expfmt.FmtOpenMetrics_1_0_0, CreatedLines: true}, {Format: expfmt.NewFormat(expfmt.TypeProtoDelim)},
	} {
		tenants, refreshers, apis := thousand()
		for _, changed := range []bool{false, true} {
			b.Run(fmt.Sprintf("type=%d/created=%v/refreshed=%v", wanted.Format.FormatType(), wanted.CreatedLines, changed), func(b *testing.B) {
				b.ReportAllocs()
				series := 0
				for b.Loop() {
					if changed {
						b.StopTimer()
						for i, r := range refreshers {
							s, status := *r.snapshot, *r.status
							status.Passes[0].Refreshes++
							status.Passes[0].LastSuccess = status.Passes[0].LastSuccess.Add(time.Second)
							r.publish(&s, &status)
							apis[i].Request(listing.OperationList, 200, time.Second/10, 1e6)
						}
						b.StartTimer()
					}
					counted := &counter{}
					write(b, counted, wanted, nil, tenants)
					series = counted.lines
				}
				b.ReportMetric(float64(series), "lines")
			})
		}
	}
}

func BenchmarkTenantsByRegistry(b *testing.B) {
	tenants, _, _ := thousand()
	registry := prometheus.NewRegistry()
	for _, s := range tenants {
		for _, source := range s.Sources() {
			prometheus.WrapRegistererWith(prometheus.Labels{"tenant": s.tenant}, registry).MustRegister(source)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		families, err := registry.Gather()
		if err != nil {
			b.Fatal(err)
		}
		encoder := expfmt.NewEncoder(&counter{}, expfmt.FmtOpenMetrics_1_0_0)
		for _, family := range families {
			if err := encoder.Encode(family); err != nil {
				b.Fatal(err)
			}
		}
	}
}

type counter struct{ lines int }

func (c *counter) Write(p []byte) (int, error) {
	c.lines += bytes.Count(p, []byte{'\n'})
	return len(p), nil
}
