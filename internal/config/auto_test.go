package config

import (
	"fmt"
	"testing"
)

// TestAuto: what goes by the API is decided for each of them, and what is given is
// kept as it was written.
func TestAuto(t *testing.T) {
	const file = `
defaults: {api: auto, auth: {client_id: c, client_secret_file: s}}
tenants:
  - {tenant_id: plain}
  - {tenant_id: gov, cloud: gcc-high}
  - {tenant_id: few, quota: {per_minute: 30, per_hour: 1000}}
  - {tenant_id: many, quota: {per_minute: 100, per_hour: 0}}
  - {tenant_id: more, quota: {per_minute: 1000, per_hour: 2000}}
  - {tenant_id: proxy, api_url: "https://proxy.example/", auth: {scope: "api://proxy/.default"}}
  - {tenant_id: own, api: graph, quota: {per_minute: 1000}}
`
	tenants, err := Parse(File{"config.yaml", []byte(file)})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][2]string{
		{"https://api.security.microsoft.com https://api.security.microsoft.com/.default 50 1500", "https://graph.microsoft.com https://graph.microsoft.com/.default 150 0"},
		{"https://api-gov.security.microsoft.us https://api-gov.security.microsoft.us/.default 50 1500", "https://graph.microsoft.us https://graph.microsoft.us/.default 150 0"},
		{"https://api.security.microsoft.com https://api.security.microsoft.com/.default 30 1000", "https://graph.microsoft.com https://graph.microsoft.com/.default 30 1000"},
		{"https://api.security.microsoft.com https://api.security.microsoft.com/.default 50 1500", "https://graph.microsoft.com https://graph.microsoft.com/.default 100 0"},
		{"https://api.security.microsoft.com https://api.security.microsoft.com/.default 50 1500", "https://graph.microsoft.com https://graph.microsoft.com/.default 150 2000"},
		{"https://proxy.example api://proxy/.default 50 1500", "https://proxy.example api://proxy/.default 150 0"},
		{"https://graph.microsoft.com https://graph.microsoft.com/.default 1000 0", "https://graph.microsoft.com https://graph.microsoft.com/.default 1000 0"},
	} {
		written := tenants[i]
		for k, api := range APIs() {
			by := written.By(api)
			if got := fmt.Sprint(by.APIURL, " ", by.AuthScope, " ", by.QuotaPerMinute, " ", by.QuotaPerHour); got != want[k] {
				t.Errorf("%s by %s: got %s, want %s", by.Name, api, got, want[k])
			}
			if written.API == Auto && by.API != api || written.API != Auto && !by.Equal(&written) {
				t.Errorf("%s by %s: API %s", by.Name, api, by.API)
			}
			if again := by.By(Graph); !again.Equal(&by) {
				t.Errorf("%s by %s is not complete", by.Name, api)
			}
		}
	}
	if a, b := tenants[0], tenants[0]; a.Account() != "auto/plain" || !a.Equal(&b) || a.APIURL != "" || a.QuotaPerMinute != ByAPI {
		t.Errorf("got %s, %q, %d", a.Account(), a.APIURL, a.QuotaPerMinute)
	}
}
