package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestExample loads the file that the README points to.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tenants, err := Parse(File{"/etc/exporter/config.yaml", text})
	if err != nil {
		t.Fatal(err)
	}
	if len(tenants) != 6 {
		t.Fatalf("%d tenants", len(tenants))
	}
	contoso, fabrikam, northwind, agency, wingtip, tailspin := tenants[0], tenants[1], tenants[2], tenants[3], tenants[4], tenants[5]
	for _, test := range []struct {
		name      string
		got, want any
	}{
		{"path", contoso.ClientSecretFile, "/etc/exporter/secrets/default"},
		{"absolute path", wingtip.FederatedTokenFile, "/var/run/secrets/azure/tokens/azure-identity-token"},
		{"host", contoso.APIURL, "https://api.security.microsoft.com"},
		{"login", contoso.AuthURL, "https://login.microsoftonline.com"},
		{"scope", contoso.AuthScope, "https://api.security.microsoft.com/.default"},
		{"day", contoso.Lookback, 180 * 24 * time.Hour},
		{"emptied", fabrikam.ClientSecretFile, ""},
		{"certificate", fabrikam.ClientCertificateFile, "/etc/exporter/secrets/fabrikam.p12"},
		{"nearer host", northwind.APIURL, "https://eu.api.security.microsoft.com"},
		{"its scope", northwind.AuthScope, "https://api.security.microsoft.com/.default"},
		{"override of one field", northwind.QuotaPerHour, 1500},
		{"share", northwind.QuotaShare, 1.0},
		{"Graph host", agency.APIURL, "https://graph.microsoft.us"},
		{"Graph login", agency.AuthURL, "https://login.microsoftonline.us"},
		{"proxy", agency.HTTP.Proxy.ProxyURL.Host, "proxy.agency.example:3128"},
		{"proxy by default", contoso.HTTP.Proxy.ProxyFromEnvironment, true},
		{"proxy by environment", agency.HTTP.Proxy.ProxyFromEnvironment, false},
		{"CA", agency.HTTP.TLS.CAFile, "/etc/exporter/proxy-ca.pem"},
		{"identity", tailspin.ManagedIdentity, true},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, test.got, test.want)
		}
	}
}

// TestSeveralFiles: the defaults and the directory of a file hold for its tenants
// alone; names and accounts are unique over all files.
func TestSeveralFiles(t *testing.T) {
	first := File{"/a/one.yml", []byte("defaults: {quota: {share: 0.5}, auth: {client_id: c, client_secret_file: s}}\ntenants: [{tenant_id: A.example, name: a}, {tenant_id: b.example}]\n")}
	second := func(tenant string) File {
		return File{"/b/two.yml", []byte("defaults: {auth: {client_id: d, client_secret_file: s}}\ntenants: [{tenant_id: c.example}, " + tenant + "]\n")}
	}
	tenants, err := Parse(first, second("{tenant_id: b.example, name: b2, api: graph}"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, c := range tenants {
		fmt.Fprintln(&got, c.Name, c.ClientID, c.ClientSecretFile, c.QuotaShare)
	}
	if want := "a c /a/s 0.5\nb.example c /a/s 0.5\nc.example d /b/s 0.8\nb2 d /b/s 0.8\n"; got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	for tenant, want := range map[string]string{
		"{tenant_id: d.example, name: a}":         "/b/two.yml: tenants[1] (a): name is that of tenants[0] (a) of /a/one.yml; names must be unique",
		"{tenant_id: B.example}":                  "/b/two.yml: tenants[1] (B.example): name is that of tenants[1] (b.example) of /a/one.yml; names must be unique",
		"{tenant_id: a.EXAMPLE, name: a2}":        "/b/two.yml: tenants[1] (a2): tenant_id is that of tenants[0] (a) of /a/one.yml, with the same api; the same incidents would be counted twice",
		"{tenant_id: c.example, name: c2}":        "/b/two.yml: tenants[1] (c2): tenant_id is that of tenants[0] (c.example), with the same api; the same incidents would be counted twice",
		"{tenant_id: d, quota: {per_minute: -1}}": "/b/two.yml: tenants[1] (d): quota.per_minute is -1; it must be at least 1",
		"{tenant_id: d, quota: {per_hour: -1}}":   "/b/two.yml: tenants[1] (d): quota.per_hour is -1; it must be at least 1, or 0 for no limit",
		"{tenant_id: d, quota: {share: 3}}":       "/b/two.yml: tenants[1] (d): quota.share is 3; it must be above 0 and at most 1",
	} {
		if _, err := Parse(first, second(tenant)); err == nil || err.Error() != want {
			t.Errorf("%s: got %v\nwant %s", tenant, err, want)
		}
	}
}

// TestQuotaByAPI: each API has its own limits unless told otherwise.
func TestQuotaByAPI(t *testing.T) {
	const file = `
tenants:
  - {tenant_id: a, auth: {client_id: c, client_secret_file: s}}
  - {tenant_id: b, auth: {client_id: c, client_secret_file: s}, api: graph}
  - {tenant_id: c, auth: {client_id: c, client_secret_file: s}, quota: {per_hour: 0}}
  - {tenant_id: b, name: b2, auth: {client_id: c, client_secret_file: s}}
`
	tenants, err := Parse(File{"config.yaml", []byte(file)})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a 50 1500", "b 150 0", "c 50 0", "b2 50 1500"} {
		if got := fmt.Sprint(tenants[i].Name, " ", tenants[i].QuotaPerMinute, " ", tenants[i].QuotaPerHour); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestOverridesTouchOneTenant: nothing is shared with the defaults or with
// another tenant.
func TestOverridesTouchOneTenant(t *testing.T) {
	const file = `
defaults:
  auth: &auth {client_id: c, client_secret_file: s}
  incidents: {age_thresholds: [4h, 1h]}
  http: {proxy_url: "http://p:1", proxy_connect_header: {A: [x]}}
tenants:
  - {tenant_id: a, incidents: {age_thresholds: [2h]}}
  - {tenant_id: b, auth: *auth, http: {proxy_connect_header: {B: [y]}}}
  - {tenant_id: c, http: {proxy_url: "", proxy_connect_header: {}}}
`
	tenants, err := Parse(File{"config.yaml", []byte(file)})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, tenant := range tenants {
		h := tenant.HTTP.Proxy
		fmt.Fprintf(&got, "%v %v %d%d\n", tenant.AgeThresholds, h.ProxyURL.URL != nil, len(h.ProxyConnectHeader["A"]), len(h.ProxyConnectHeader["B"]))
	}
	const want = "[2h0m0s] true 10\n[1h0m0s 4h0m0s] true 01\n[1h0m0s 4h0m0s] false 00\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// TestObjectives: a tenant changes single ones of the defaults, and ends one with
// 0s.
func TestObjectives(t *testing.T) {
	const file = `
defaults:
  auth: {client_id: c, client_secret_file: s}
  incidents: {objectives: {high: {assign: 15m}, low: {resolve: 2d}}}
tenants:
  - {tenant_id: a}
  - {tenant_id: b, incidents: {objectives: {high: {first_touch: 5m, resolve: 0s}}}}
`
	tenants, err := Parse(File{"config.yaml", []byte(file)})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"{15m0s 0s 24h0m0s} {0s 0s 48h0m0s}", "{15m0s 5m0s 0s} {0s 0s 48h0m0s}"} {
		if got := fmt.Sprint(tenants[i].Objectives.High, " ", tenants[i].Objectives.Low); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestMixtures: what belongs together is taken, of whatever cloud and API.
func TestMixtures(t *testing.T) {
	for _, cloud := range CloudNames() {
		for _, api := range APIs() {
			tenant := Default()
			tenant.Cloud, tenant.API, tenant.TenantID, tenant.ClientID, tenant.ClientSecret = cloud, api, "t", "c", "s"
			if err := tenant.Complete(); err != nil {
				t.Errorf("%s %s: %v", cloud, api, err)
			}
			own := tenant
			own.APIURL, own.AuthURL, own.AuthScope = "https://proxy.example/api", "http://127.0.0.1:8080", "8ee8fdad-f234-4243-8f3b-15c294843740/.default"
			if err := own.Complete(); err != nil {
				t.Errorf("%s %s with own addresses: %v", cloud, api, err)
			}
			for _, other := range CloudNames() {
				mixed := tenant
				mixed.AuthURL = Clouds[other].Login
				if err := mixed.Complete(); (err == nil) != (Clouds[other].Login == Clouds[cloud].Login) {
					t.Errorf("%s with the login of %s: %v", cloud, other, err)
				}
			}
		}
	}
}

// TestEqual: the case of the tenant id is not a difference, everything else is.
func TestEqual(t *testing.T) {
	tenant := func(change func(*Tenant)) *Tenant {
		c := Default()
		c.Name, c.TenantID, c.ClientID, c.ClientSecretFile = "contoso", "contoso.example", "c", "s"
		change(&c)
		if err := c.Complete(); err != nil {
			t.Fatal(err)
		}
		return &c
	}
	base := tenant(func(*Tenant) {})
	for name, test := range map[string]struct {
		change func(*Tenant)
		want   bool
	}{
		"nothing":             {func(*Tenant) {}, true},
		"case of the id":      {func(c *Tenant) { c.TenantID = "Contoso.EXAMPLE" }, true},
		"id":                  {func(c *Tenant) { c.TenantID = "contosa.example" }, false},
		"case of the name":    {func(c *Tenant) { c.Name = "Contoso" }, false},
		"case of the secret":  {func(c *Tenant) { c.ClientSecretFile = "S" }, false},
		"look-back":           {func(c *Tenant) { c.Lookback /= 2 }, false},
		"look-back, and case": {func(c *Tenant) { c.TenantID, c.Lookback = "CONTOSO.example", c.Lookback/2 }, false},
	} {
		other := tenant(test.change)
		before := other.TenantID
		if got := base.Equal(other); got != test.want || other.Equal(base) != got || other.TenantID != before {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		if same := base.Account() == other.Account(); same != (name != "id") {
			t.Errorf("%s: accounts %s and %s", name, base.Account(), other.Account())
		}
	}
}

// TestEmptyAndQuoted: an empty group leaves what the defaults say, an empty text
// is no text, and a number is one in quotes, too.
func TestEmptyAndQuoted(t *testing.T) {
	const file = `
defaults:
  api_url: https://proxy.example
  auth: {client_id: c, client_secret_file: s, scope: other/.default}
  quota: &quota {per_minute: "20", share: '0.5'}
  http: {max_response_bytes: "2MiB", tls_config: {insecure_skip_verify: true, server_name: n}}
tenants:
  - {tenant_id: a, auth: , quota: , http: {tls_config: }}
  - tenant_id: b
    api_url:
    auth: {client_secret_file: , federated_token_file: f, scope: ~}
    quota: *quota
    http: {proxy_url: , tls_config: {insecure_skip_verify: false, ca_file: ca}}
`
	tenants, err := Parse(File{"dir/config.yaml", []byte(file)})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, c := range tenants {
		fmt.Fprintln(&got, c.TenantID, c.APIURL, c.AuthScope, c.ClientSecretFile, c.FederatedTokenFile, c.QuotaPerMinute, c.QuotaShare, c.MaxResponseBytes,
			c.HTTP.Proxy.ProxyFromEnvironment, c.HTTP.TLS.InsecureSkipVerify, c.HTTP.TLS.ServerName, c.HTTP.TLS.CAFile)
	}
	const want = `a https://proxy.example other/.default dir/s  20 0.5 2097152 true true n 
b https://api.security.microsoft.com https://api.security.microsoft.com/.default  dir/f 20 0.5 2097152 false false n dir/ca
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}
