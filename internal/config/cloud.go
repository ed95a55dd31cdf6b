package config

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The APIs, and in their place the choice between them, which is made while the
// tenant is read; see [Tenant.By].
const (
	Defender = "defender"
	Graph    = "graph"
	Auto     = "auto"
)

// APIs lists those that there are.
func APIs() []string { return []string{Defender, Graph} }

// Roles by API are those of its application permissions that allow to read
// incidents. The first is enough.
var Roles = map[string][]string{
	Defender: {"Incident.Read.All", "Incident.ReadWrite.All"},
	Graph:    {"SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"},
}

// Cloud is a set of addresses that belong together.
type Cloud struct {
	Login string
	// Host of each API. The scope of its tokens is the host and "/.default".
	Host map[string]string
}

// Clouds by name. Sources: the vendor's pages on each API in each cloud, and
// what clients of them use.
var Clouds = map[string]Cloud{
	"public": {
		Login: "https://login.microsoftonline.com",
		Host:  map[string]string{Defender: "https://api.security.microsoft.com", Graph: "https://graph.microsoft.com"},
	},
	"gcc": {
		Login: "https://login.microsoftonline.com",
		Host:  map[string]string{Defender: "https://api-gcc.security.microsoft.us", Graph: "https://graph.microsoft.com"},
	},
	"gcc-high": {
		Login: "https://login.microsoftonline.us",
		Host:  map[string]string{Defender: "https://api-gov.security.microsoft.us", Graph: "https://graph.microsoft.us"},
	},
	"dod": {
		Login: "https://login.microsoftonline.us",
		Host:  map[string]string{Defender: "https://api-gov.security.microsoft.us", Graph: "https://dod-graph.microsoft.us"},
	},
}

// CloudNames lists the keys of Clouds.
func CloudNames() []string { return []string{"public", "gcc", "gcc-high", "dod"} }

// nearer are hosts of the public cloud's native API that are nearer to some.
const nearer = ".api.security.microsoft.com"

// foreign are the hosts of a cloud in which neither API is offered.
var foreign = []string{
	"login.chinacloudapi.cn", "login.partner.microsoftonline.cn", "microsoftgraph.chinacloudapi.cn", "login.microsoftonline.de",
}

// Limit is what an API allows an app to call in a tenant.
type Limit struct{ PerMinute, PerHour int }

// Limits by API. Sources: MicrosoftDocs/defender-docs, defender-xdr/api-list-incidents.md;
// https://learn.microsoft.com/graph/throttling-limits, which names alerts under
// /security and no limit by the hour.
var Limits = map[string]Limit{
	Defender: {50, 1500},
	Graph:    {PerMinute: 150},
}

// addresses fills what is not given from the cloud and the API and refuses
// addresses that do not belong together: the login of one cloud gives no token
// for the API of another, and says so in a code that tells nothing.
func (t *Tenant) addresses(p place) error {
	cloud, ok := Clouds[t.Cloud]
	if !ok {
		return p.wrong(fieldCloud, "is %q; it must be one of %s", t.Cloud, strings.Join(CloudNames(), ", "))
	}
	if all := append(APIs(), Auto); !slices.Contains(all, t.API) {
		return p.wrong(fieldAPI, "is %q; it must be one of %s", t.API, strings.Join(all, ", "))
	}
	host := cloud.Host[t.API]
	t.APIURL = strings.TrimRight(cmp.Or(t.APIURL, host), "/")
	t.AuthURL = strings.TrimRight(cmp.Or(t.AuthURL, cloud.Login), "/")
	t.AuthScope = cmp.Or(t.AuthScope, host+"/.default")
	for _, a := range []struct {
		field         Field
		value, belong string
		login         bool
	}{
		{fieldAPIURL, t.APIURL, host, false},
		{fieldAuthURL, t.AuthURL, cloud.Login, true},
		{fieldAuthScope, t.AuthScope, host + "/.default", false},
	} {
		if a.field != fieldAuthScope {
			if err := p.address(a.field, a.value); err != nil {
				return err
			}
		}
		if owner := t.ownerOf(a.value, a.login); owner != "" {
			return p.wrong(a.field, "is %q, which belongs to %s; with %s %s and %s %s it must be %s",
				a.value, owner, fieldCloud, t.Cloud, fieldAPI, t.API, a.belong)
		}
	}
	return nil
}

// ownerOf tells to whom a well-known host belongs if not to this tenant's
// cloud and API. Hosts that are not known may be a proxy.
func (t *Tenant) ownerOf(address string, login bool) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if slices.Contains(foreign, host) {
		return "another national cloud"
	}
	if near, ok := strings.CutSuffix(host, nearer); ok && near != "" {
		host = strings.TrimPrefix(nearer, ".")
	}
	var owners []string
	for _, name := range CloudNames() {
		cloud := Clouds[name]
		if "https://"+host == cloud.Login {
			if login && name == t.Cloud {
				return ""
			}
			owners = append(owners, name+" (login)")
		}
		for _, api := range APIs() {
			if "https://"+host != cloud.Host[api] {
				continue
			}
			if !login && name == t.Cloud && api == t.API {
				return ""
			}
			owners = append(owners, fmt.Sprintf("%s (api %s)", name, api))
		}
	}
	return strings.Join(owners, " and ")
}
