package config

import (
	"maps"
	"net/url"
	"slices"
	"time"

	promconfig "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v4"
)

// common are the fields of a tenant that the defaults have, too. A list or a
// map replaces what was there; everything else overrides field by field.
func common(t *Tenant, directory string) mapping {
	file := func(to *string) reader {
		return func(n *yaml.Node) error {
			err := text(to)(n)
			*to = promconfig.JoinDir(directory, *to)
			return err
		}
	}
	return mapping{
		"api":     text(&t.API),
		"cloud":   text(&t.Cloud),
		"api_url": text(&t.APIURL),
		"auth": group(mapping{
			"url":                              text(&t.AuthURL),
			"scope":                            text(&t.AuthScope),
			"client_id":                        text(&t.ClientID),
			"client_secret_file":               file(&t.ClientSecretFile),
			"client_certificate_file":          file(&t.ClientCertificateFile),
			"client_certificate_password_file": file(&t.ClientCertificatePasswordFile),
			"federated_token_file":             file(&t.FederatedTokenFile),
			"managed_identity":                 boolean(&t.ManagedIdentity),
		}),
		"quota": group(mapping{
			"per_minute": integer(&t.QuotaPerMinute),
			"per_hour":   integer(&t.QuotaPerHour),
			"share":      number(&t.QuotaShare),
		}),
		"refresh": group(mapping{
			"interval":       duration(&t.Interval),
			"sweep_interval": duration(&t.SweepInterval),
			"overlap":        duration(&t.Overlap),
		}),
		"incidents": group(mapping{
			"lookback":       duration(&t.Lookback),
			"age_thresholds": durations(&t.AgeThresholds),
		}),
		"cache": group(mapping{"max_age": duration(&t.MaxAge)}),
		"http": group(mapping{
			"timeout":                duration(&t.Timeout),
			"max_response_bytes":     size(&t.MaxResponseBytes),
			"proxy_url":              proxy(&t.HTTP.Proxy),
			"no_proxy":               text(&t.HTTP.Proxy.NoProxy),
			"proxy_from_environment": boolean(&t.HTTP.Proxy.ProxyFromEnvironment),
			"proxy_connect_header":   headers(&t.HTTP.Proxy.ProxyConnectHeader),
			"tls_config": group(mapping{
				"ca":                   text(&t.HTTP.TLS.CA),
				"ca_file":              file(&t.HTTP.TLS.CAFile),
				"cert":                 text(&t.HTTP.TLS.Cert),
				"cert_file":            file(&t.HTTP.TLS.CertFile),
				"key_file":             file(&t.HTTP.TLS.KeyFile),
				"server_name":          text(&t.HTTP.TLS.ServerName),
				"insecure_skip_verify": boolean(&t.HTTP.TLS.InsecureSkipVerify),
				"min_version":          tlsVersion(&t.HTTP.TLS.MinVersion),
				"max_version":          tlsVersion(&t.HTTP.TLS.MaxVersion),
			}),
		}),
	}
}

// proxy also ends the default, which is to ask the environment. An empty one
// says: none.
func proxy(to *promconfig.ProxyConfig) reader {
	return func(n *yaml.Node) error {
		var address string
		if err := text(&address)(n); err != nil {
			return err
		}
		to.ProxyFromEnvironment, to.ProxyURL = false, promconfig.URL{}
		if address == "" {
			return nil
		}
		u, err := url.Parse(address)
		if err != nil {
			return errURL // which does not repeat it: it may hold a password
		}
		to.ProxyURL.URL = u
		return nil
	}
}

func headers(to *promconfig.ProxyHeader) reader {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.MappingNode {
			return errHeaders
		}
		out := promconfig.ProxyHeader{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			var values []promconfig.Secret
			list := resolve(n.Content[i+1])
			if list.Kind != yaml.SequenceNode {
				return errHeaders
			}
			for _, item := range list.Content {
				if item.Kind != yaml.ScalarNode {
					return errHeaders
				}
				values = append(values, promconfig.Secret(item.Value))
			}
			out[n.Content[i].Value] = values
		}
		*to = out
		return nil
	}
}

func clone(h promconfig.ProxyHeader) promconfig.ProxyHeader { return maps.Clone(h) }

func tlsVersion(to *promconfig.TLSVersion) reader {
	return func(n *yaml.Node) error {
		version, ok := promconfig.TLSVersions[n.Value]
		if n.Kind != yaml.ScalarNode || !ok || !slices.Contains([]string{"TLS12", "TLS13"}, n.Value) {
			return errTLSVersion
		}
		*to = version
		return nil
	}
}

func durations(to *[]time.Duration) reader {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.SequenceNode {
			return errDurations
		}
		list := make([]time.Duration, len(n.Content))
		for i, item := range n.Content {
			if err := duration(&list[i])(resolve(item)); err != nil {
				return errDurations
			}
		}
		*to = list
		return nil
	}
}
