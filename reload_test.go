package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/simulator"
)

// onDisk is a configuration file of tenants of one simulator on loopback.
type onDisk struct {
	t          *testing.T
	path, text string
}

func newOnDisk(t *testing.T, names ...string) *onDisk {
	t.Helper()
	sim := simulator.New(simulator.Options{Seed: 1, Incidents: 100, Light: true, Limits: []simulator.Limit{}})
	api := httptest.NewServer(sim.Handler())
	t.Cleanup(api.Close)
	f := &onDisk{t: t, path: filepath.Join(t.TempDir(), "config.yaml")}
	if err := os.WriteFile(filepath.Join(filepath.Dir(f.path), "secret"), []byte(simulator.DefaultClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.text = fmt.Sprintf("defaults: {auth: {client_id: %s, client_secret_file: secret, url: %q, scope: %q}, api_url: %q}\ntenants:\n",
		simulator.DefaultClientID, api.URL, api.URL+"/.default", api.URL)
	f.write(names...)
	return f
}

// write lists the tenants. All but the first are of directories that the
// simulator does not know.
func (f *onDisk) write(names ...string) {
	f.t.Helper()
	text := f.text
	for i, name := range names {
		id := simulator.DefaultTenantID
		if i > 0 {
			id = name + ".example"
		}
		text += fmt.Sprintf("  - {name: %s, tenant_id: %s}\n", name, id)
	}
	f.raw(text)
}

func (f *onDisk) raw(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func post(t *testing.T, client *http.Client, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer(t, client, req)
}

// TestReload runs the program with a file that changes.
func TestReload(t *testing.T) {
	withoutEnvironment(t)
	file := newOnDisk(t, "contoso", "fabrikam")
	p := started(t, &http.Client{}, "http", "--config.file="+file.path, "--web.probe-listen-address=127.0.0.1:0", "--web.enable-lifecycle")
	client, url := p.client, p.url
	has := func(name string) bool {
		_, text := body(t, client, url+"/metrics")
		return strings.Contains(text, fmt.Sprintf("tenant=%q", name))
	}
	successful := func(want string) {
		t.Helper()
		if _, text := body(t, client, url+"/metrics"); !strings.Contains(text, "\nm365_defender_config_last_reload_successful "+want+"\n") ||
			!strings.Contains(text, "\nm365_defender_config_last_reload_success_timestamp_seconds 1.") {
			t.Errorf("last_reload_successful is not %s", want)
		}
	}
	if !has("contoso") || !has("fabrikam") {
		t.Error("a tenant has no series")
	}
	successful("1")

	file.write("contoso", "northwind")
	if code, text := post(t, client, http.MethodPost, url+"/-/reload"); code != 200 || text != "" {
		t.Errorf("reload: %d, %s", code, text)
	}
	if has("fabrikam") || !has("northwind") || !has("contoso") {
		t.Error("the tenants are not those of the file")
	}

	file.raw(file.text + "  - {name: contoso, tenant_id: a.example, quota: {share: 3}}\n")
	want := "tenants[0] (contoso): quota.share is 3; it must be above 0 and at most 1"
	if code, text := post(t, client, http.MethodPut, url+"/-/reload"); code != 500 || !strings.Contains(text, want) {
		t.Errorf("reload: %d, %s", code, text)
	}
	if !has("northwind") || !has("contoso") {
		t.Error("the old configuration does not go on")
	}
	successful("0")
	if _, text := body(t, client, url+"/"); !strings.Contains(text, want) {
		t.Error("the status page does not tell what is wrong with the configuration")
	}

	file.write("contoso", "hooli")
	hangUp(t, p)
	p.until("the configuration is reloaded", func() bool { return has("hooli") })
	if has("northwind") {
		t.Error("a tenant that is not in the file goes on")
	}
	successful("1")

	for path, want := range map[string]int{"/-/healthy": 200, "/-/ready": 200, "/metrics": 404, "/": 404, "/status": 404, "/-/reload": 404} {
		if got, _ := body(t, client, "http://"+p.address("probes")+path); got != want {
			t.Errorf("probe port %s: %d, want %d", path, got, want)
		}
	}
	if code := p.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// hangUp has the program read its configuration again: by a signal where a
// process can send itself one.
func hangUp(t *testing.T, p *served) {
	t.Helper()
	if runtime.GOOS == "windows" {
		post(t, p.client, http.MethodPost, p.url+"/-/reload")
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func TestReloadOnlyWhenAsked(t *testing.T) {
	reload := &reloader{}
	w := httptest.NewRecorder()
	reloadHandler(false, reload).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/-/reload", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("got %d", w.Code)
	}
}

// TestReloadOfFlags changes nothing and succeeds.
func TestReloadOfFlags(t *testing.T) {
	inFleet(t, func(f *fleet) {
		r, err := newReloader(&options{tenant: f.tenant("a")}, f.set, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		before := f.of("a")
		f.wait(time.Minute)
		if err := r.run(); err != nil || f.of("a") != before {
			t.Errorf("%v, or the tenant was made anew", err)
		}
	})
}

// TestScrapeIsWhatPromhttpAnswers compares headers and bodies for whatever
// clients send.
func TestScrapeIsWhatPromhttpAnswers(t *testing.T) {
	inFleet(t, func(f *fleet) {
		f.replace(f.tenant("a"), f.tenant("b"))
		f.wait(2 * time.Minute)
		process := prometheus.NewRegistry()
		process.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "of_the_process", Help: "It is."}))
		s := newScrape(f.set, process, slog.New(slog.DiscardHandler))
		reference := promhttp.HandlerFor(prometheus.GathererFunc(s.gather), promhttp.HandlerOpts{EnableOpenMetrics: true})
		for _, accept := range []string{
			"", "*/*", "text/plain", "text/html,*/*;q=0.8", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2",
			"application/openmetrics-text;version=0.0.1", "text/plain;version=1.0.0;escaping=allow-utf-8",
			"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
			"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=compact-text",
		} {
			for _, encoding := range []string{"", "gzip", "gzip, deflate, br", "identity", "identity, gzip", "gzip;q=0", "*", "br"} {
				for _, query := range []string{"", "?name[]=m365_defender_incidents&name[]=of_the_process", "?name[]=nothing"} {
					compareScrapes(t, s, reference, accept, encoding, query)
				}
			}
		}
	})
}

func compareScrapes(t *testing.T, got, want http.Handler, accept, encoding, query string) {
	t.Helper()
	answer := func(h http.Handler) (http.Header, []string) {
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
		text, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
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

// TestSecretsAreNowhere: not on the status page, not in the log, not in what
// prints itself, whatever fails.
func TestSecretsAreNowhere(t *testing.T) {
	var log bytes.Buffer
	inFleet(t, func(f *fleet) {
		cfg := f.tenant("a")
		cfg.ClientSecret = "hush-hush"
		text := fmt.Appendf(nil, "tenants: [{tenant_id: a.example, auth: {client_id: c, client_secret_file: s}, http: {proxy_url: %q, proxy_connect_header: {Proxy-Authorization: [hush-hush]}}}]",
			"http://user:hush-hush@proxy.example:3128")
		parsed, err := config.Parse(text, "")
		if err != nil {
			t.Fatal(err)
		}
		cfg.HTTP = parsed[0].HTTP
		f.set.logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		reload, err := newReloader(&options{tenant: cfg}, f.set, f.set.logger)
		if err != nil {
			t.Fatal(err)
		}
		f.wait(time.Minute)
		f.set.logger.Info("all", "config", cfg, "http", cfg.HTTP, "secret", cfg.ClientSecret)
		fmt.Fprintf(&log, "%v %+v %#v %s", cfg, cfg, cfg, fmt.Errorf("%v", []any{cfg, &cfg}))
		for _, url := range []string{"/", "/status?format=json"} {
			w := httptest.NewRecorder()
			statusPage("/metrics", f.set, reload).ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, url, nil))
			if !strings.Contains(w.Body.String(), "invalid_client") {
				t.Errorf("%s does not tell what is wrong", url)
			}
			log.Write(w.Body.Bytes())
		}
		func() {
			defer func() { fmt.Fprintf(&log, "%v", recover()) }()
			panic(cfg)
		}()
	})
	if strings.Contains(log.String(), "hush") {
		t.Errorf("a secret is in: %s", log.String())
	}
}

// TestScrapesWhileTenantsChange: no scrape sees half a change, fails, or shows
// a tenant twice.
func TestScrapesWhileTenantsChange(t *testing.T) {
	inFleet(t, func(f *fleet) {
		a, b, c := f.tenant("a"), f.tenant("b"), f.tenant("c")
		f.replace(a, b)
		s := newScrape(f.set, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
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
