package tenant

import (
	"encoding/base64"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	promconfig "github.com/prometheus/common/config"

	"m365_defender_exporter/internal/tenanttest"
)

// TestProxySecrets: what a proxy is given, and may repeat, is shown by nothing that
// it answers.
func TestProxySecrets(t *testing.T) {
	address := func(text string) promconfig.ProxyConfig {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return promconfig.ProxyConfig{ProxyURL: promconfig.URL{URL: u}}
	}
	headers := func(values ...promconfig.Secret) promconfig.ProxyConfig {
		p := address("http://proxy:3128")
		p.ProxyConnectHeader = promconfig.ProxyHeader{"Proxy-Authorization": values, "X-Key": {"first-value", "the-last-value-of-all"}}
		return p
	}
	basic := func(login string) string { return base64.StdEncoding.EncodeToString([]byte(login)) }
	environment := promconfig.ProxyConfig{ProxyFromEnvironment: true}
	tests := map[string]struct {
		proxy       promconfig.ProxyConfig
		environment string
		secrets     []string
	}{
		"address":              {address("http://pxuser:pxWORD@proxy:3128"), "", []string{"pxWORD", basic("pxuser:pxWORD")}},
		"escaped":              {address("http://px%40user:w%20rd%2Fx@proxy:3128"), "", []string{"w rd/x", "w%20rd%2Fx", basic("px@user:w rd/x")}},
		"socks":                {address("socks5://pxuser:pxWORD@proxy:1080"), "", []string{"pxWORD"}},
		"headers":              {headers("Basic "+promconfig.Secret(basic("u:qwe9rt")), "Bearer one-word"), "", []string{basic("u:qwe9rt"), "qwe9rt", "one-word", "first-value", "the-last-value-of-all"}},
		"environment":          {environment, "http://pxuser:pxWORD@proxy:3128", []string{"pxWORD", basic("pxuser:pxWORD")}},
		"environment, no URL":  {environment, "http://pxuser:px WORD@proxy:3128", []string{"px WORD"}},
		"environment, no http": {environment, "pxuser:pxWORD@proxy:3128", []string{"pxWORD"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HTTPS_PROXY", test.environment)
			cfg := tenanttest.Config()
			cfg.HTTP.Proxy = test.proxy
			if err := cfg.Complete(); err != nil {
				t.Fatal(err)
			}
			tenant, err := simple(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range test.secrets {
				if got := tenant.Credential().Scrubber().Text("no way for " + secret + ", pxuser"); strings.Contains(got, secret) || !strings.Contains(got, "pxuser") {
					t.Errorf("got %q, with %q", got, secret)
				}
			}
		})
	}
}
