package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
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
			inFleet(t, func(f *fleet) {
				f.replace(f.tenant("a"), f.tenant("b"), f.tenant("c"))
				f.wait(2 * time.Minute)
				var log bytes.Buffer
				process := prometheus.NewRegistry()
				s := newScrape(f.set, process, slog.New(slog.NewTextHandler(&log, nil)))
				flows := &f.of("b").loop.Snapshot().Flows
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
	inFleet(t, func(f *fleet) {
		f.replace(f.tenant("a"))
		f.wait(2 * time.Minute)
		for _, accept := range []string{acceptText, acceptOpen, acceptProtobuf} {
			for _, encoding := range []string{"", "gzip", "identity", "gzip;q=1"} {
				for why, process := range map[string]prometheus.Gatherer{"expected gauge": unencodable, "out of sorts": ungatherable} {
					if why != "out of sorts" && (accept == acceptProtobuf || encoding == "gzip;q=1") {
						continue // which do not look that closely, or have begun to answer
					}
					registry := prometheus.NewRegistry()
					s := newScrape(f.set, registry, slog.New(slog.DiscardHandler))
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
