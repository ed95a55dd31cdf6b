package tenant

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/scrub"
)

// proxySecrets lets the scrubber know what a proxy is given, which it may repeat in
// whatever it answers.
func proxySecrets(s *scrub.Scrubber, h config.HTTP) {
	if u := h.Proxy.ProxyURL.URL; u != nil {
		passwordIn(s, "proxy_url", u.String())
	}
	if h.Proxy.ProxyFromEnvironment {
		env := httpproxy.FromEnvironment()
		passwordIn(s, "HTTPS_PROXY", env.HTTPSProxy)
		passwordIn(s, "HTTP_PROXY", env.HTTPProxy)
	}
	for name, values := range h.Proxy.ProxyConnectHeader {
		for i, value := range values {
			// A kind of its own for each: only the last few of one are remembered.
			kind := fmt.Sprintf("proxy_connect_header %s %d", name, i)
			s.Secret(kind, string(value))
			scheme, word, ok := strings.Cut(string(value), " ")
			if !ok {
				continue
			}
			s.Secret(kind+" word", word)
			if login, err := base64.StdEncoding.DecodeString(word); err == nil && strings.EqualFold(scheme, "Basic") {
				_, password, _ := strings.Cut(string(login), ":")
				s.Secret(kind+" password", password)
			}
		}
	}
}

// passwordIn makes the password in the address of a proxy a secret: as it is written,
// as it is meant, and as it is sent. The address need not be a URL: that it is none is
// an error which quotes it.
func passwordIn(s *scrub.Scrubber, kind, address string) {
	_, rest, ok := strings.Cut(address, "://")
	if !ok {
		rest = address
	}
	user, password, ok := strings.Cut(rest[:max(0, strings.LastIndexByte(rest, '@'))], ":")
	if !ok {
		return
	}
	s.Secret(kind+" as written", password)
	if word, err := url.PathUnescape(password); err == nil {
		password = word
	}
	if word, err := url.PathUnescape(user); err == nil {
		user = word
	}
	s.Secret(kind, password)
	s.Secret(kind+" as sent", base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}
