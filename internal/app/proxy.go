package app

import (
	"errors"
	"net/url"
	"slices"

	"golang.org/x/net/http/httpproxy"

	"m365_defender_exporter/internal/config"
)

// checkProxyEnvironment refuses the address of a proxy that net/http would go without,
// where a tenant goes by it. It may hold a password, and is not repeated.
func checkProxyEnvironment(tenants []config.Tenant) error {
	address := httpproxy.FromEnvironment().HTTPSProxy
	goes := func(t config.Tenant) bool { return t.HTTP.Proxy.ProxyFromEnvironment }
	if address == "" || !slices.ContainsFunc(tenants, goes) {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Host == "" {
		u, err = url.Parse("http://" + address) // as net/http does
	}
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return errors.New("HTTPS_PROXY in the environment must be a URL such as http://proxy:3128, with %25 and the like for what is special in a password")
	}
	return nil
}
