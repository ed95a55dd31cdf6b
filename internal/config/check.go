package config

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
)

// MaxAgeThresholds bounds a label.
const MaxAgeThresholds = 32

// Upper bounds. They are far beyond what is of use, and near enough for sums and
// products of them to fit into 64 bits.
const (
	day = 24 * time.Hour
	// maxAge of an incident: the service keeps them for 180 days.
	maxAge = 10 * 365 * day
	// maxQuota of calls in a window: Graph's is 150 a minute. The ledger keeps the
	// instant of each.
	maxQuota = 1_000_000
	// maxResponse in bytes, decompressed and in memory.
	maxResponse = 1 << 30
)

// Complete fills what follows from other settings and reports the first
// setting that is missing or wrong as an *Error, in terms of the command line.
func (t *Tenant) Complete() error { return t.complete(commandLine) }

func (t *Tenant) complete(p place) error {
	if t.API == Auto {
		return t.completeAuto(p)
	}
	if t.TenantID == "" {
		return p.wrong(fieldTenantID, "is required: the directory (tenant) id")
	}
	if strings.ContainsAny(t.TenantID, "/?#% \t\r\n") {
		return p.wrong(fieldTenantID, "is %q; it must be a directory (tenant) id or a domain name", t.TenantID)
	}
	t.Name = cmp.Or(t.Name, t.TenantID)
	if strings.ContainsFunc(t.Name, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) {
		return p.wrong(fieldName, "is %q; it must be printable text", t.Name)
	}
	return cmp.Or(
		t.credential(p),
		t.addresses(p),
		t.numbers(p),
		t.HTTP.check(p),
	)
}

// credential refuses none and more than one.
func (t *Tenant) credential(p place) error {
	if t.ClientID == "" && !t.ManagedIdentity {
		return p.wrong(fieldClientID, "is required: the application (client) id of the app registration")
	}
	var given []Field
	for _, c := range []struct {
		field Field
		given bool
	}{
		{fieldSecretFile, t.ClientSecret != "" || t.ClientSecretFile != ""},
		{fieldCertificate, t.ClientCertificateFile != ""},
		{fieldFederatedToken, t.FederatedTokenFile != ""},
		{fieldIdentity, t.ManagedIdentity},
	} {
		if c.given {
			given = append(given, c.field)
		}
	}
	switch {
	case len(given) == 0 && p == commandLine:
		return p.wrong(fieldSecretFile, "is required: a file that holds the client secret, or the secret itself in the environment variable; or one of %s, %s, %s",
			fieldCertificate, fieldFederatedToken, fieldIdentity)
	case len(given) == 0:
		return p.wrong(fieldSecretFile, "is required: a file that holds the client secret; or one of %s, %s, %s",
			fieldCertificate, fieldFederatedToken, fieldIdentity)
	case len(given) > 1:
		return p.wrong(given[1], "is given as well as %s; it must be exactly one credential", given[0])
	case !t.SecretExpires.IsZero() && given[0] != fieldSecretFile:
		return p.wrong(fieldSecretExpires, "is given with %s; it must be given with a client secret only", given[0])
	case t.ClientCertificatePasswordFile != "" && t.ClientCertificateFile == "":
		return p.wrong(fieldPasswordFile, "is given without %s, whose password it would be", fieldCertificate)
	}
	return nil
}

// numbers checks what can be checked of the defaults, too.
func (t *Tenant) numbers(p place) error {
	if t.QuotaPerMinute == ByAPI {
		t.QuotaPerMinute = Limits[t.API].PerMinute
	}
	if t.QuotaPerHour == ByAPI {
		t.QuotaPerHour = Limits[t.API].PerHour
	}
	for _, d := range []struct {
		field           Field
		value, min, max time.Duration
	}{
		{fieldTimeout, t.Timeout, time.Second, 15 * time.Minute},
		{fieldInterval, t.Interval, time.Second, day},
		{fieldSweepInterval, t.SweepInterval, time.Minute, 365 * day},
		{fieldOverlap, t.Overlap, time.Second, day},
		{fieldLookback, t.Lookback, time.Hour, maxAge},
		{fieldMaxAge, t.MaxAge, time.Second, 365 * day},
	} {
		switch {
		case d.value < d.min:
			return p.wrong(d.field, "is %v; it must be at least %v", model.Duration(d.value), model.Duration(d.min))
		case d.value > d.max:
			return p.wrong(d.field, "is %v; it must be at most %v", model.Duration(d.value), model.Duration(d.max))
		}
	}
	switch {
	case t.QuotaPerMinute < 1:
		return p.wrong(fieldPerMinute, "is %d; it must be at least 1", t.QuotaPerMinute)
	case t.QuotaPerHour < 0:
		return p.wrong(fieldPerHour, "is %d; it must be at least 1, or 0 for no limit", t.QuotaPerHour)
	case t.QuotaPerMinute > maxQuota:
		return p.wrong(fieldPerMinute, "is %d; it must be at most %d", t.QuotaPerMinute, maxQuota)
	case t.QuotaPerHour > maxQuota:
		return p.wrong(fieldPerHour, "is %d; it must be at most %d", t.QuotaPerHour, maxQuota)
	case !(t.QuotaShare > 0 && t.QuotaShare <= 1):
		return p.wrong(fieldShare, "is %v; it must be above 0 and at most 1", t.QuotaShare)
	case t.MaxResponseBytes < 1<<20:
		return p.wrong(fieldMaxResponse, "is %d; it must be at least 1MiB", t.MaxResponseBytes)
	case t.MaxResponseBytes > maxResponse:
		return p.wrong(fieldMaxResponse, "is %v; it must be at most %v", units.Base2Bytes(t.MaxResponseBytes), units.Base2Bytes(maxResponse))
	case t.MaxAge < t.Interval:
		return p.wrong(fieldMaxAge, "is %v; it must not be below %s, which is %v",
			model.Duration(t.MaxAge), fieldInterval, model.Duration(t.Interval))
	case len(t.AgeThresholds) > MaxAgeThresholds:
		return p.wrong(fieldThresholds, "is given %d times; %d are enough", len(t.AgeThresholds), MaxAgeThresholds)
	}
	// A copy: tenants share what they have from the defaults.
	t.AgeThresholds = slices.Compact(slices.Sorted(slices.Values(t.AgeThresholds)))
	if n := len(t.AgeThresholds); n > 0 && t.AgeThresholds[0] <= 0 {
		return p.wrong(fieldThresholds, "is %v; it must be above 0", t.AgeThresholds[0])
	} else if n > 0 && t.AgeThresholds[n-1] > maxAge {
		return p.wrong(fieldThresholds, "is %v; it must be at most %v", model.Duration(t.AgeThresholds[n-1]), model.Duration(maxAge))
	}
	return cmp.Or(t.Objectives.check(p), t.check(p))
}

func (h *HTTP) check(p place) error {
	if err := h.Proxy.Validate(); err != nil {
		return p.wrong(fieldProxy, "is not right: %v", err)
	}
	if u := h.Proxy.ProxyURL.URL; u != nil && (u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)) {
		return p.wrong(fieldProxy, "must be a URL such as http://proxy:3128")
	}
	if err := h.TLS.Validate(); err != nil {
		return p.wrong(fieldTLS, "is not right: %v", err)
	}
	return nil
}

// address refuses what would carry a credential in the clear.
func (p place) address(f Field, value string) error {
	u, err := url.Parse(value)
	switch {
	case strings.Contains(value, "@"):
		return p.wrong(f, "must not contain credentials")
	case strings.ContainsAny(value, "?#"):
		return p.wrong(f, "is %q; it must be a URL without ? and #, for paths are added to it", value)
	case err != nil || u.Host == "":
		return p.wrong(f, "is %q; it must be a URL such as https://host", value)
	case u.Scheme == "https" || u.Scheme == "http" && Loopback(u.Hostname()):
		return nil
	}
	return p.wrong(f, "is %q; it must begin with https:// (plain http only to loopback)", value)
}

// Loopback tells whether a host is this machine by its name or address.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
