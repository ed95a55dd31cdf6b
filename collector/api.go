package collector

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m365_defender_exporter/internal/listing"
)

// API counts a tenant's calls. Its methods are safe for concurrent use.
type API struct {
	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	tooMany     prometheus.Counter
	waits       *prometheus.CounterVec
	waitSeconds *prometheus.CounterVec
	bytes       prometheus.Counter
	tokens      prometheus.Counter
	tokenFails  *prometheus.CounterVec
	handedIn    prometheus.Counter
	changes     atomic.Uint64
}

// NewAPI returns the counters of a tenant, at zero.
func NewAPI() *API {
	a := &API{
		requests: apiRequests.counters(),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            apiDuration.Name,
			Help:                            apiDuration.Help,
			Buckets:                         []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, apiDuration.Labels),
		tooMany:     apiTooMany.counter(),
		waits:       apiWaits.counters(),
		waitSeconds: apiWaitSeconds.counters(),
		bytes:       apiBytes.counter(),
		tokens:      tokenRequests.counter(),
		tokenFails:  tokenFailures.counters(),
		handedIn:    apiHandedIn.counter(),
	}
	// What can be counted starts at zero, so that the first increase is seen.
	for _, rule := range []string{"minute", "hour", "retry_after"} {
		a.waits.WithLabelValues(rule)
		a.waitSeconds.WithLabelValues(rule)
	}
	a.requests.WithLabelValues(string(listing.OperationList), "200")
	a.duration.WithLabelValues(string(listing.OperationList))
	return a
}

func (m *Metric) counter() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: m.Name, Help: m.Help})
}

func (m *Metric) counters() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
}

// Request counts one call: its operation, HTTP status (0 if
// there was no answer), duration and the size of the answer's body.
func (a *API) Request(operation listing.Operation, code int, took time.Duration, bytes int64) {
	defer a.changes.Add(1)
	status := "error"
	if code != 0 {
		status = strconv.Itoa(code)
	}
	a.requests.WithLabelValues(string(operation), status).Inc()
	a.duration.WithLabelValues(string(operation)).Observe(took.Seconds())
	a.bytes.Add(float64(bytes))
	if code == 429 {
		a.tooMany.Inc()
	}
}

// Waited counts a wait for quota by the rule that made us wait: minute, hour
// or retry_after.
func (a *API) Waited(rule string, d time.Duration) {
	defer a.changes.Add(1)
	a.waits.WithLabelValues(rule).Inc()
	a.waitSeconds.WithLabelValues(rule).Add(d.Seconds())
}

// Token counts a request for an access token; reason is empty if it succeeded.
func (a *API) Token(reason string) {
	defer a.changes.Add(1)
	a.tokens.Inc()
	if reason != "" {
		a.tokenFails.WithLabelValues(reason).Inc()
	}
}

// HandedIn counts calls of others that the ledger has learned of.
func (a *API) HandedIn(calls int) {
	defer a.changes.Add(1)
	a.handedIn.Add(float64(calls))
}

// collectors are in the order of apiMetrics.
func (a *API) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		a.requests, a.duration, a.tooMany, a.waits, a.waitSeconds, a.bytes, a.tokens, a.tokenFails, a.handedIn,
	}
}

var apiMetrics = []*Metric{
	apiRequests, apiDuration, apiTooMany, apiWaits, apiWaitSeconds, apiBytes, tokenRequests, tokenFailures, apiHandedIn,
}

func (a *API) metrics() []*Metric { return apiMetrics }

func (a *API) version() any { return a.changes.Load() }

func (a *API) samples(to *sink) {
	for i, c := range a.collectors() {
		ch := make(chan prometheus.Metric, 16)
		go func() {
			c.Collect(ch)
			close(ch)
		}()
		for metric := range ch {
			to.metric(apiMetrics[i], metric)
		}
	}
}

// Describe implements prometheus.Collector.
func (a *API) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range a.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (a *API) Collect(ch chan<- prometheus.Metric) {
	for _, c := range a.collectors() {
		c.Collect(ch)
	}
}
