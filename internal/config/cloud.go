package config

import (
	"slices"
	"strings"
)

// The APIs.
const (
	Defender = "defender"
	Graph    = "graph"
)

// APIs lists them.
func APIs() []string { return []string{Defender, Graph} }

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

// ByAPI is a quota that is not given: Complete puts the API's in its place.
const ByAPI = -1

// limits are what each API allows an app in a tenant. Graph has no limit by the
// hour.
var limits = map[string]struct{ perMinute, perHour int }{
	Defender: {50, 1500},
	Graph:    {150, 0},
}

// chooseAPI checks which it is, and fills in its limits.
func (t *Tenant) chooseAPI() error {
	if !slices.Contains(APIs(), t.API) {
		return wrong("api", "", "is %q; it must be one of %s", t.API, strings.Join(APIs(), ", "))
	}
	if t.QuotaPerMinute == ByAPI {
		t.QuotaPerMinute = limits[t.API].perMinute
	}
	if t.QuotaPerHour == ByAPI {
		t.QuotaPerHour = limits[t.API].perHour
	}
	return nil
}
