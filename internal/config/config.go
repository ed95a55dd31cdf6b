// Package config is what the operator wrote, as a pure value: it knows what is
// right and says exactly what is not, but opens, asks and starts nothing.
package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Tenant is everything that is to be known of one tenant. Fill it with
// [Default] first.
type Tenant struct {
	// Name is the value of the label tenant.
	Name     string
	TenantID string
	// API is one of APIs. With Cloud, which is one of Clouds, it sets the three
	// addresses that are empty.
	API, Cloud                 string
	APIURL, AuthURL, AuthScope string
	ClientID                   string
	ClientSecret               Secret
	ClientSecretFile           string
	QuotaPerMinute             int
	QuotaPerHour               int
	QuotaShare                 float64
	Timeout                    time.Duration
	MaxResponseBytes           int64
	Interval, SweepInterval    time.Duration
	Overlap, Lookback, MaxAge  time.Duration
	AgeThresholds              []time.Duration
}

// Default is a tenant with every setting that has a default.
func Default() Tenant {
	const day = 24 * time.Hour
	return Tenant{
		API:              Defender,
		Cloud:            "public",
		QuotaPerMinute:   ByAPI,
		QuotaPerHour:     ByAPI,
		QuotaShare:       0.8,
		Timeout:          30 * time.Second,
		MaxResponseBytes: 64 << 20,
		Interval:         30 * time.Second,
		SweepInterval:    6 * time.Hour,
		Overlap:          10 * time.Minute,
		Lookback:         180 * day,
		MaxAge:           time.Hour,
		AgeThresholds: []time.Duration{
			time.Hour, 4 * time.Hour, 8 * time.Hour, day, 3 * day, 7 * day, 30 * day,
		},
	}
}

// Secret never prints itself: not in logs, errors or panics.
type Secret string

const hidden = "<secret>"

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Field names a setting as an operator knows it.
type Field struct{ Flag, Env string }

// String reads "--flag (or ENV)".
func (f Field) String() string {
	if f.Env == "" {
		return "--" + f.Flag
	}
	return "--" + f.Flag + " (or " + f.Env + ")"
}

// Error is one setting that is not right, and what would be.
type Error struct {
	Field Field
	Text  string
}

// Error implements error.
func (e *Error) Error() string { return e.Field.String() + " " + e.Text }

// Complete fills what follows from other settings and reports the first
// setting that is missing or wrong as an *Error.
func (t *Tenant) Complete() error {
	cloud, ok := Clouds[t.Cloud]
	if !ok {
		return wrong("cloud", "", "is %q; it must be one of %s", t.Cloud, strings.Join(CloudNames(), ", "))
	}
	if t.TenantID == "" {
		return wrong("tenant.id", "AZURE_TENANT_ID", "is required: the directory (tenant) id")
	}
	if strings.ContainsAny(t.TenantID, "/?#% \t") {
		return wrong("tenant.id", "AZURE_TENANT_ID", "is %q; it must be a directory (tenant) id or a domain name", t.TenantID)
	}
	if t.ClientID == "" {
		return wrong("client.id", "AZURE_CLIENT_ID", "is required: the application (client) id of the app registration")
	}
	if t.ClientSecret == "" && t.ClientSecretFile == "" {
		return wrong("client.secret-file", "AZURE_CLIENT_SECRET", "is required: a file that holds the client secret, or the secret itself in the environment variable")
	}
	t.Name = orDefault(t.Name, t.TenantID)
	if err := t.chooseAPI(); err != nil {
		return err
	}
	t.APIURL = orDefault(t.APIURL, cloud.Host[t.API])
	t.AuthURL = orDefault(t.AuthURL, cloud.Login)
	t.AuthScope = orDefault(t.AuthScope, cloud.Host[t.API]+"/.default")
	return firstOf(
		address("api.url", t.APIURL),
		address("auth.url", t.AuthURL),
		t.numbers(),
	)
}

func (t *Tenant) numbers() error {
	for _, d := range []struct {
		flag  string
		value time.Duration
		min   time.Duration
	}{
		{"api.timeout", t.Timeout, time.Second},
		{"refresh.interval", t.Interval, time.Second},
		{"refresh.sweep-interval", t.SweepInterval, time.Minute},
		{"refresh.overlap", t.Overlap, time.Second},
		{"incidents.lookback", t.Lookback, time.Hour},
		{"cache.max-age", t.MaxAge, time.Second},
	} {
		if d.value < d.min {
			return wrong(d.flag, "", "is %v; it must be at least %v", d.value, d.min)
		}
	}
	switch {
	case t.QuotaPerMinute < 1:
		return wrong("api.quota-per-minute", "", "is %d; it must be at least 1", t.QuotaPerMinute)
	case t.QuotaPerHour < 0:
		return wrong("api.quota-per-hour", "", "is %d; it must be at least 1, or 0 for no limit", t.QuotaPerHour)
	case !(t.QuotaShare > 0 && t.QuotaShare <= 1):
		return wrong("api.quota-share", "", "is %v; it must be above 0 and at most 1", t.QuotaShare)
	case t.MaxResponseBytes < 1<<20:
		return wrong("api.max-response-bytes", "", "is %d; it must be at least 1MiB", t.MaxResponseBytes)
	case t.MaxAge < t.Interval:
		return wrong("cache.max-age", "", "is %v; it must not be below --refresh.interval, which is %v", t.MaxAge, t.Interval)
	case len(t.AgeThresholds) > MaxAgeThresholds:
		return wrong("incidents.age-threshold", "", "is given %d times; %d are enough", len(t.AgeThresholds), MaxAgeThresholds)
	}
	slices.Sort(t.AgeThresholds)
	t.AgeThresholds = slices.Compact(t.AgeThresholds)
	if len(t.AgeThresholds) > 0 && t.AgeThresholds[0] <= 0 {
		return wrong("incidents.age-threshold", "", "is %v; it must be above 0", t.AgeThresholds[0])
	}
	return nil
}

// MaxAgeThresholds bounds a label.
const MaxAgeThresholds = 32

// address refuses what would carry a credential in the clear.
func address(flag, value string) error {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "":
		return wrong(flag, "", "is %q; it must be a URL such as https://host", value)
	case u.User != nil:
		return wrong(flag, "", "must not contain credentials")
	case u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return wrong(flag, "", "is %q; it must begin with https:// (plain http only to loopback)", value)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func wrong(flag, env, format string, args ...any) error {
	return &Error{Field{flag, env}, fmt.Sprintf(format, args...)}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func orDefault(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}
