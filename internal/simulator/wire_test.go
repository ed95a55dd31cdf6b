package simulator

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/simulator/entra"
	"m365_defender_exporter/internal/simulator/faults"
	"m365_defender_exporter/internal/simulator/wire"
)

// overEverything runs a test without a network and over HTTP/1.1 and 2.
func overEverything(t *testing.T, name string, opts Options, test func(*testing.T, *Tenant, *caller)) {
	t.Helper()
	everywhere(t, name, opts, test)
	t.Run(name+"/HTTP2", func(t *testing.T) {
		tenant := New(opts)
		_, c := overTCP(t, tenant, faults.ServerOptions{})
		test(t, tenant, c)
	})
}

func TestHang(t *testing.T) {
	overEverything(t, "hang", Options{}, func(t *testing.T, tenant *Tenant, c *caller) {
		tenant.Fault(Faults{Hang: true, Count: 1})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if a := c.do(ctx, "/api/incidents"); !errors.Is(a.err, context.DeadlineExceeded) {
			t.Errorf("got %d %v", a.status, a.err)
		}
		c.page("")
	})
}

func TestSwitchingProtocols(t *testing.T) {
	everywhere(t, "101", Options{}, func(t *testing.T, tenant *Tenant, c *caller) {
		tenant.Fault(Faults{Status: http.StatusSwitchingProtocols})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/incidents", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		resp, err := c.http.Do(req)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %v %v", resp, err)
		}
		cancel() // does not end it
		read := make(chan error, 1)
		go func() {
			_, err := resp.Body.Read(make([]byte, 1))
			read <- err
		}()
		select {
		case err := <-read:
			t.Errorf("a read ended with %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		_ = resp.Body.Close()
		if err := <-read; err == nil {
			t.Error("a read of a closed body succeeded")
		}
	})
}

func TestInterim(t *testing.T) {
	overEverything(t, "interim", Options{}, func(t *testing.T, tenant *Tenant, c *caller) {
		got := 0
		enough := errors.New("enough")
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
			if got++; got > 50 {
				return enough
			}
			return nil
		}})
		tenant.Fault(Faults{Wire: faults.Wire{Interim: 7}})
		if a := c.do(ctx, "/api/incidents"); a.status != 200 || got != 7 {
			t.Errorf("got %d %v after %d", a.status, a.err, got)
		}
		tenant.Fault(Faults{Wire: faults.Wire{Interim: -1}, Count: 1})
		if a := c.do(ctx, "/api/incidents"); a.err == nil || got != 51 {
			t.Errorf("flood: got %d %v after %d", a.status, a.err, got)
		}
	})
}

func TestContentLength(t *testing.T) {
	overEverything(t, "length", Options{Incidents: 20, Light: true}, func(t *testing.T, tenant *Tenant, c *caller) {
		right := c.get("/api/incidents")
		tenant.Fault(Faults{Wire: faults.Wire{LengthOff: 100}})
		if a := c.get("/api/incidents"); a.err == nil || !strings.HasPrefix(right.body, a.body) || a.body == "" {
			t.Errorf("more: got %v, %d bytes of %d", a.err, len(a.body), len(right.body))
		}
		tenant.Fault(Faults{Wire: faults.Wire{LengthOff: -100}})
		// Where net/http asks for gzip by itself, it notices.
		if a := c.get("/api/incidents"); a.err == nil && len(a.body) != len(right.body)-100 || len(a.body) >= len(right.body) {
			t.Errorf("less: got %v, %d bytes of %d", a.err, len(a.body), len(right.body))
		}
	})
}

func TestBadChecksum(t *testing.T) {
	overEverything(t, "gzip", Options{Incidents: 20, Light: true}, func(t *testing.T, tenant *Tenant, c *caller) {
		tenant.Fault(Faults{Wire: faults.Wire{BadChecksum: true}})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+"/api/incidents", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(z); !errors.Is(err, gzip.ErrChecksum) || !json.Valid(body) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFlood(t *testing.T) {
	eachFace(t, "", Options{Incidents: 3, Light: true, Mix: Mix{Active: 1}}, func(t *testing.T, r *reader) {
		r.tenant.Fault(Faults{Flood: faults.Flood{Rows: 100_000, Alerts: 50_000}})
		options := ""
		if r.graph {
			options = "$expand=alerts"
		}
		var p struct{ Value []json.RawMessage }
		if err := json.Unmarshal([]byte(r.ask(options).body), &p); err != nil || len(p.Value) != 100_003 || string(p.Value[100_002]) != "1" {
			t.Fatalf("got %d rows, %v", len(p.Value), err)
		}
		var row struct{ Alerts []int }
		if err := json.Unmarshal(p.Value[0], &row); err != nil || len(row.Alerts) != 50_000 {
			t.Errorf("got %d alerts, %v", len(row.Alerts), err)
		}
		r.tenant.Fault(Faults{Flood: faults.Flood{Rows: 1 << 20}})
		c := &wire.Call{
			Method: "GET", Path: r.face().Path, Base: r.base, Header: http.Header{"Authorization": {"Bearer " + r.token}, "Accept-Encoding": {"gzip"}},
		}
		if rep := r.tenant.Answer(c); len(rep.Body) > 1<<16 {
			t.Errorf("got %d bytes on the wire", len(rep.Body))
		}
	})
}

// TestEcho: what comes back holds the token in the form, at the place.
func TestEcho(t *testing.T) {
	for _, form := range faults.EchoForms {
		for _, place := range faults.EchoPlaces {
			for _, path := range []string{"/api/incidents", "/v1.0/security/incidents"} {
				tenant := New(Options{Limits: unlimited})
				for _, c := range []*caller{inProcess(t, tenant), loopback(t, tenant)} {
					tenant.Fault(Faults{Echo: faults.Echo{Form: form, At: place}})
					resp, text := c.show(path)
					want := form.Of(c.token)
					if place == faults.EchoMessage {
						want = strings.ReplaceAll(want, `\`, `\\`) // it is in JSON
					}
					if !strings.Contains(text, want) {
						t.Errorf("form %d, place %d: got %.300s, want %.40s", form, place, text, want)
					}
					if place < faults.EchoHeaderLine && resp != 403 && place != faults.EchoLocation {
						t.Errorf("form %d, place %d: got %d", form, place, resp)
					}
				}
			}
		}
	}
	if a, b := faults.EchoSwapped.Of("aB-1"), faults.EchoJSON.Of("a"); a != "Ab-1" || b != `\u0061` {
		t.Errorf("got %q, %q", a, b)
	}
	if got, _ := base64.StdEncoding.DecodeString(faults.EchoBase64.Of("abc")); string(got) != "abc" {
		t.Errorf("got %q", got)
	}
	if got, _ := url.PathUnescape(faults.EchoPercent.Of("a.b")); got != "a.b" {
		t.Errorf("got %q", got)
	}
}

// show is everything that an answer says, and its status; or the error.
func (c *caller) show(path string) (int, string) {
	req, err := http.NewRequest(http.MethodGet, c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		// net/http quotes what it complains about.
		return 0, strings.ReplaceAll(err.Error(), `\\`, `\`)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, resp.Status + " " + resp.Header.Get("Location") + " " + resp.Header.Get("WWW-Authenticate") + " " + string(body)
}

func TestTokenRedirects(t *testing.T) {
	for status, follows := range map[int]bool{0: true, 307: true, 308: true, 302: false} {
		synctest.Test(t, func(t *testing.T) {
			tenant := New(Options{})
			c := inProcess(t, tenant)
			c.http.CheckRedirect = nil
			tenant.Fault(Faults{Token: faults.TokenFaults{Redirect: Foreign + "/token", RedirectStatus: status}})
			if _, err := c.http.PostForm(c.base+"/"+DefaultTenantID+entra.TokenPath, form()); err == nil {
				t.Error("a foreign host answered")
			}
			m := tenant.Meter()
			if m.Foreign != 1 || m.ForeignWithCredentials != map[bool]int{true: 1}[follows] {
				t.Errorf("%d: got %d, %d", status, m.Foreign, m.ForeignWithCredentials)
			}
		})
	}
	everywhere(t, "location", Options{}, func(t *testing.T, tenant *Tenant, c *caller) {
		tenant.Fault(Faults{Token: faults.TokenFaults{Redirect: "http://simulated.example/x", Count: 1}})
		resp, err := c.http.PostForm(c.base+"/"+DefaultTenantID+entra.TokenPath, form())
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusTemporaryRedirect || resp.Header.Get("Location") != "http://simulated.example/x" {
			t.Errorf("got %d %v", resp.StatusCode, resp.Header)
		}
		c.login()
	})
}

func TestTokenEcho(t *testing.T) {
	tenant := New(Options{})
	c := inProcess(t, tenant)
	for _, as := range faults.EchoForms {
		tenant.Fault(Faults{Token: faults.TokenFaults{Code: 7000215, Echo: as}})
		_, body := c.post(DefaultTenantID, form())
		if text, _ := body["error_description"].(string); !strings.Contains(text, as.Of(DefaultClientSecret)) {
			t.Errorf("form %d: got %q", as, text)
		}
	}
}
