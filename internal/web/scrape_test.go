package web

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"m365_defender_exporter/internal/incident"
)

const (
	acceptText     = "text/plain;version=0.0.4"
	acceptOpen     = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// scrapeOnce asks the handler and unzips what is zipped.
func scrapeOnce(t *testing.T, h http.Handler, accept, encoding string) (*httptest.ResponseRecorder, []byte) {
	t.Helper()
	return scrapeQuery(t, h, "", accept, encoding)
}

func scrapeQuery(t *testing.T, h http.Handler, query, accept, encoding string) (*httptest.ResponseRecorder, []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics"+query, nil)
	r.Header.Set("Accept", accept)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	from := io.Reader(w.Body)
	if w.Header().Get("Content-Encoding") == "gzip" {
		zip, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		from = zip
	}
	body, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return w, body
}

// upIn are the values of the metric up by tenant.
func upIn(t *testing.T, accept string, body []byte) map[string]float64 {
	t.Helper()
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	if accept == acceptProtobuf {
		format = expfmt.NewFormat(expfmt.TypeProtoDelim)
	}
	found := map[string]float64{}
	decoder := expfmt.NewDecoder(bytes.NewReader(body), format)
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		if family.GetName() != "m365_defender_up" {
			continue
		}
		for _, m := range family.Metric {
			for _, l := range m.Label {
				if l.GetName() == "tenant" {
					found[l.GetValue()] = m.GetGauge().GetValue() + m.GetUntyped().GetValue()
				}
			}
		}
	}
}

// TestScrapeLeavesOut: a tenant whose series cannot be encoded is counted and
// left out, by the short way and by the library's, and all others are served.
func TestScrapeLeavesOut(t *testing.T) {
	for _, test := range []struct {
		accept, encoding string
		left             bool
	}{
		{acceptProtobuf, "", true},
		{acceptProtobuf, "gzip", true},
		{acceptProtobuf, "identity;q=1", true}, // by the library
		{acceptProtobuf, "gzip;q=1", true},     // by the library
		// Text has no place for what is wrong.
		{acceptText, "", false},
		{acceptText, "gzip", false},
		{acceptText, "identity;q=1", true}, // by the library, which looks anyway
		{acceptText, "gzip;q=1", true},
	} {
		t.Run(test.accept+" "+test.encoding, func(t *testing.T) {
			inFleet(t, slog.New(slog.DiscardHandler), func(f *served) {
				f.replace(f.Tenant("a"), f.Tenant("b"), f.Tenant("c"))
				f.wait(2 * time.Minute)
				var log bytes.Buffer
				process := prometheus.NewRegistry()
				s := newScrape(Options{Fleet: f.Fleet, Logger: slog.New(slog.NewTextHandler(&log, nil))}, process)
				flows := &f.of("b").Status(time.Now()).Snapshot.Flows
				right := flows.TimeToAssign[1]
				// As if it had been restored from a state in which it does not add up.
				flows.TimeToAssign[1] = incident.Histogram{Count: 5, Sum: 10}
				for range 2 {
					w, body := scrapeOnce(t, s, test.accept, test.encoding)
					up := upIn(t, test.accept, body)
					if _, shown := up["b"]; w.Code != http.StatusOK || up["a"] != 1 || up["c"] != 1 || shown == test.left {
						t.Errorf("HTTP %d, up is %v", w.Code, up)
					}
				}
				count, lines := 0.0, 0
				if test.left {
					count, lines = 2, 1
				}
				if got := encodingFailures(t, process); got != count {
					t.Errorf("%v failures are counted, want %v", got, count)
				}
				if got := strings.Count(log.String(), "level=ERROR"); got != lines || test.left && !strings.Contains(log.String(), "tenant b: ") {
					t.Errorf("%d lines, want %d: %s", got, lines, log.String())
				}
				flows.TimeToAssign[1] = right
				f.wait(time.Minute) // another snapshot
				if _, body := scrapeOnce(t, s, test.accept, test.encoding); len(upIn(t, test.accept, body)) != 3 {
					t.Error("the tenant does not come back")
				}
			})
		})
	}
}

// encodingFailures is the counter of promhttp, and ours.
func encodingFailures(t *testing.T, process prometheus.Gatherer) float64 {
	t.Helper()
	families, err := process.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			if family.GetName() == "promhttp_metric_handler_errors_total" && m.Label[0].GetValue() == "encoding" {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatal("no failures are counted")
	return 0
}

// TestScrapeFails: what of the process cannot be gathered or encoded is HTTP
// 500 with the reason, never an empty answer that looks like success.
func TestScrapeFails(t *testing.T) {
	name := "of_the_process"
	unencodable := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		return []*dto.MetricFamily{{Name: &name, Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{{}}}}, nil
	})
	ungatherable := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return nil, errors.New("out of sorts") })
	inFleet(t, slog.New(slog.DiscardHandler), func(f *served) {
		f.replace(f.Tenant("a"))
		f.wait(2 * time.Minute)
		for _, accept := range []string{acceptText, acceptOpen, acceptProtobuf} {
			for _, encoding := range []string{"", "gzip", "identity", "gzip;q=1"} {
				for why, process := range map[string]prometheus.Gatherer{"expected gauge": unencodable, "out of sorts": ungatherable} {
					if why != "out of sorts" && (accept == acceptProtobuf || encoding == "gzip;q=1") {
						continue // which do not look that closely, or have begun to answer
					}
					registry := prometheus.NewRegistry()
					s := newScrape(Options{Fleet: f.Fleet, Logger: slog.New(slog.DiscardHandler)}, registry)
					s.process = process
					w, body := scrapeOnce(t, s, accept, encoding)
					if w.Code != http.StatusInternalServerError || !strings.Contains(string(body), why) {
						t.Errorf("%s, %q, %s: HTTP %d, %q", accept, encoding, why, w.Code, body)
					}
					if got := w.Header().Get("Content-Encoding"); got != "" {
						t.Errorf("%s, %q, %s: encoded as %s", accept, encoding, why, got)
					}
					if why != "out of sorts" && encodingFailures(t, registry) != 1 {
						t.Errorf("%s, %q, %s: not counted", accept, encoding, why)
					}
				}
			}
		}
	})
}

// TestScrapeIsWhatPromhttpAnswers compares headers and bodies for whatever
// clients send.
func TestScrapeIsWhatPromhttpAnswers(t *testing.T) {
	inFleet(t, slog.New(slog.DiscardHandler), func(f *served) {
		f.replace(f.Tenant("a"), f.Tenant("b"))
		f.wait(2 * time.Minute)
		process := prometheus.NewRegistry()
		process.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "of_the_process", Help: "It is."}))
		s := newScrape(Options{Fleet: f.Fleet, Logger: slog.New(slog.DiscardHandler)}, process)
		reference := promhttp.HandlerFor(prometheus.GathererFunc(s.gather), promhttp.HandlerOpts{EnableOpenMetrics: true})
		withCreated := newScrape(Options{Fleet: f.Fleet, Logger: slog.New(slog.DiscardHandler), CreatedLines: true, Started: time.Now()}, prometheus.NewRegistry())
		created := promhttp.HandlerFor(prometheus.GathererFunc(withCreated.gather), promhttp.HandlerOpts{EnableOpenMetrics: true, EnableOpenMetricsTextCreatedSamples: true})
		for _, accept := range []string{
			"", "*/*", "text/plain", "text/html,*/*;q=0.8", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2",
			"application/openmetrics-text;version=0.0.1", "text/plain;version=1.0.0;escaping=allow-utf-8",
			"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
			"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=compact-text",
		} {
			for _, encoding := range []string{"", "gzip", "gzip, deflate, br", "identity", "identity, gzip", "gzip;q=0", "*", "br"} {
				for _, query := range []string{"", "?name[]=m365_defender_incidents&name[]=of_the_process", "?name[]=nothing"} {
					compareScrapes(t, s, reference, accept, encoding, query)
					if strings.Contains(accept, "openmetrics") {
						compareScrapes(t, withCreated, created, accept, encoding, query)
					}
				}
			}
		}
	})
}

func compareScrapes(t *testing.T, got, want http.Handler, accept, encoding, query string) {
	t.Helper()
	answer := func(h http.Handler) (http.Header, []string) {
		w, text := scrapeQuery(t, h, query, accept, encoding)
		lines := strings.Split(string(text), "\n")
		slices.Sort(lines)
		return w.Header(), lines
	}
	gotHeader, gotLines := answer(got)
	wantHeader, wantLines := answer(want)
	if !maps.EqualFunc(gotHeader, wantHeader, slices.Equal) {
		t.Errorf("Accept %q, encoding %q: headers %v, want %v", accept, encoding, gotHeader, wantHeader)
	}
	if !slices.Equal(gotLines, wantLines) {
		t.Errorf("Accept %q, encoding %q, %q: %d lines, want %d", accept, encoding, query, len(gotLines), len(wantLines))
	}
}

// TestEverythingThatCountsHasAStart: by the short way and by the library's, the
// metrics of Go and of the process included; in OpenMetrics only when asked for.
func TestEverythingThatCountsHasAStart(t *testing.T) {
	inFleet(t, slog.New(slog.DiscardHandler), func(f *served) {
		started := time.Now()
		f.replace(f.Tenant("a"))
		f.wait(2 * time.Minute)
		for _, created := range []bool{false, true} {
			h := New(Options{
				Fleet: f.Fleet, Reloader: none{}, Logger: slog.New(slog.DiscardHandler), TelemetryPath: "/metrics",
				CreatedLines: created, Started: started,
			})
			for _, encoding := range []string{"", "gzip", "identity;q=1"} {
				_, body := scrapeOnce(t, h, acceptProtobuf, encoding)
				found := map[string]bool{}
				decoder := expfmt.NewDecoder(bytes.NewReader(body), expfmt.NewFormat(expfmt.TypeProtoDelim))
				for {
					var family dto.MetricFamily
					if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						t.Fatal(err)
					}
					found[family.GetName()] = true
					for _, m := range family.Metric {
						counts := m.Counter != nil || m.Histogram != nil || m.Summary != nil
						start := cmp.Or(m.GetCounter().GetCreatedTimestamp(), m.GetHistogram().GetCreatedTimestamp(), m.GetSummary().GetCreatedTimestamp())
						if counts && (start == nil || start.AsTime().Before(started) || start.AsTime().After(time.Now())) {
							t.Errorf("encoding %q: %s %v: started at %v", encoding, family.GetName(), m.Label, start)
						}
					}
				}
				for _, name := range []string{"process_cpu_seconds_total", "go_gc_duration_seconds", "promhttp_metric_handler_requests_total",
					"m365_defender_tenant_open_failures_total", "m365_defender_api_request_duration_seconds", "m365_defender_incidents_created_total"} {
					if !found[name] {
						t.Errorf("encoding %q: %s is not there", encoding, name)
					}
				}
				for _, accept := range []string{acceptOpen, acceptText} {
					_, body := scrapeOnce(t, h, accept, encoding)
					shown := strings.Contains(string(body), "_created{")
					if want := created && accept == acceptOpen; shown != want {
						t.Errorf("%s, encoding %q: lines _created: %v, want %v", accept, encoding, shown, want)
					}
				}
			}
		}
	})
}

// TestScrapesWhileTenantsChange: no scrape sees half a change, fails, or shows
// a tenant twice.
func TestScrapesWhileTenantsChange(t *testing.T) {
	inFleet(t, slog.New(slog.DiscardHandler), func(f *served) {
		a, b, c := f.Tenant("a"), f.Tenant("b"), f.Tenant("c")
		f.replace(a, b)
		s := newScrape(Options{Fleet: f.Fleet, Logger: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry())
		var scrapers sync.WaitGroup
		for _, encoding := range []string{"", "gzip", "gzip;q=1"} { // the last by promhttp
			scrapers.Go(func() {
				for range 40 {
					r := httptest.NewRequest(http.MethodGet, "/metrics?name[]=m365_defender_up", nil)
					r.Header.Set("Accept-Encoding", encoding)
					w := httptest.NewRecorder()
					s.ServeHTTP(w, r)
					if n := strings.Count(w.Body.String(), "\nm365_defender_up{tenant="); w.Code != 200 || encoding == "" && (n < 2 || n > 3) {
						t.Errorf("%d, %d tenants: %s", w.Code, n, w.Body)
					}
					time.Sleep(300 * time.Millisecond)
				}
			})
		}
		for i := range 40 {
			a.Lookback += time.Hour
			if i%2 == 0 {
				f.replace(a, b, c)
			} else {
				f.replace(c, a)
			}
			time.Sleep(310 * time.Millisecond)
		}
		scrapers.Wait()
	})
}
