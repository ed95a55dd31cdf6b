package simulator

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/simulator/faults"
)

func TestTokenRequests(t *testing.T) {
	with := func(name, value string) url.Values {
		f := form()
		f.Set(name, value)
		return f
	}
	for name, test := range map[string]struct {
		tenant string
		form   url.Values
		faults faults.TokenFaults
		status int
		code   string
		aadsts float64
	}{
		"right":             {"", form(), faults.TokenFaults{}, 200, "", 0},
		"wrong secret":      {"", with("client_secret", "x"), faults.TokenFaults{}, 401, "invalid_client", 7000215},
		"no secret":         {"", with("client_secret", ""), faults.TokenFaults{}, 401, "invalid_client", 7000218},
		"unknown app":       {"", with("client_id", "x"), faults.TokenFaults{}, 400, "unauthorized_client", 700016},
		"unknown tenant":    {"x", form(), faults.TokenFaults{}, 400, "invalid_request", 90002},
		"no scope":          {"", with("scope", ""), faults.TokenFaults{}, 400, "invalid_request", 900144},
		"wrong scope":       {"", with("scope", "https://simulated.example"), faults.TokenFaults{}, 400, "invalid_scope", 1002012},
		"no grant type":     {"", with("grant_type", ""), faults.TokenFaults{}, 400, "invalid_request", 900144},
		"other grant type":  {"", with("grant_type", "password"), faults.TokenFaults{}, 400, "unsupported_grant_type", 70003},
		"untyped assertion": {"", with("client_assertion", "a.b.c"), faults.TokenFaults{}, 400, "invalid_request", 900144},
		"expired secret":    {"", form(), faults.TokenFaults{Code: 7000222}, 401, "invalid_client", 7000222},
		"transient":         {"", form(), faults.TokenFaults{Code: 90033}, 503, "temporarily_unavailable", 90033},
	} {
		everywhere(t, name, Options{}, func(t *testing.T, tenant *Tenant, c *caller) {
			tenant.Fault(Faults{Token: test.faults})
			if test.tenant == "" {
				test.tenant = DefaultTenantID
			}
			status, body := c.post(test.tenant, test.form)
			if status != test.status {
				t.Fatalf("got %d %v, want %d", status, body, test.status)
			}
			if test.code == "" {
				return
			}
			if codes, _ := body["error_codes"].([]any); body["error"] != test.code || len(codes) != 1 || codes[0] != test.aadsts {
				t.Errorf("got %v", body)
			}
			if text, _ := body["error_description"].(string); !strings.HasPrefix(text, "AADSTS") {
				t.Errorf("got description %q", text)
			}
		})
	}
}

func TestTokenEndpointFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := New(Options{})
		c := inProcess(t, tenant)
		tenant.Fault(Faults{Token: faults.TokenFaults{Status: 500, Count: 2, Delay: time.Second}})
		began := time.Now()
		for _, want := range []int{500, 500, 200} {
			if got, _ := c.post(DefaultTenantID, form()); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		}
		if got := time.Since(began); got != 2*time.Second {
			t.Errorf("took %v, want 2s", got)
		}
		if got := tenant.Meter().Tokens; got != 4 {
			t.Errorf("got %d token requests, want 4", got)
		}
	})
}

func TestTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := New(Options{TokenLifetime: 10 * time.Minute})
		c := inProcess(t, tenant)
		check := func(when string, want int) {
			t.Helper()
			if got := c.get("/api/incidents").status; got != want {
				t.Errorf("%s: got %d, want %d", when, got, want)
			}
		}
		time.Sleep(10*time.Minute - time.Nanosecond)
		check("before the end", 200)
		time.Sleep(time.Nanosecond)
		check("expired", 401)
		c.login()
		check("new", 200)
		tenant.ExpireTokens()
		check("revoked", 401)
		tenant.SetRoles("Machine.Read.All")
		c.login()
		check("without the role", 403)
		tenant.SetRoles("Machine.Read.All", DefaultRole)
		c.login()
		check("with the role", 200)
		tenant.SetClientSecret("rotated")
		check("secret rotated", 200)
		if got, _ := c.post(DefaultTenantID, form()); got != 401 {
			t.Errorf("old secret: got %d, want 401", got)
		}
		c.token = "forged"
		check("forged", 401)
	})
}

func TestTokenClaims(t *testing.T) {
	for name, want := range map[string]any{"with roles": []any{DefaultRole}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			c := inProcess(t, New(Options{NoRoles: want == nil, Now: clock.now, Skew: time.Hour}))
			parts := strings.Split(c.token, ".")
			if len(parts) != 3 {
				t.Fatalf("got %d parts", len(parts))
			}
			payload, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err != nil {
				t.Fatal(err)
			}
			var claims map[string]any
			if err := json.Unmarshal(payload, &claims); err != nil {
				t.Fatal(err)
			}
			if got := claims["roles"]; !reflect.DeepEqual(got, want) {
				t.Errorf("got roles %v, want %v", got, want)
			}
			exp := float64(start.Add(2 * time.Hour).Unix())
			if claims["aud"] != "https://simulated.example" || claims["tid"] != DefaultTenantID || claims["exp"] != exp {
				t.Errorf("got %v", claims)
			}
			wantStatus := 200
			if want == nil {
				wantStatus = 403
			}
			if got := c.get("/api/incidents").status; got != wantStatus {
				t.Errorf("got %d, want %d", got, wantStatus)
			}
		})
	}
}

func TestGzip(t *testing.T) {
	everywhere(t, "gzip", Options{Seed: 1, Incidents: 40, Mix: Mix{Active: 1}}, func(t *testing.T, _ *Tenant, c *caller) {
		want := c.get("/api/incidents").body
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
		if resp.Header.Get("Content-Encoding") != "gzip" || resp.ContentLength <= 0 || resp.ContentLength > int64(len(want)/4) {
			t.Errorf("got encoding %q, %d bytes of %d", resp.Header.Get("Content-Encoding"), resp.ContentLength, len(want))
		}
		r, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	})
}
