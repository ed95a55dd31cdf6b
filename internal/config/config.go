// Package config is what the operator wrote, as a pure value: it knows what is
// right and says exactly what is not, but opens, asks and starts nothing.
package config

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
)

// Tenant is everything that is to be known of one tenant. Fill it with
// [Default] first; [Tenant.Equal] tells whether two are the same. The tags are the
// names of its fields in the configuration file.
type Tenant struct {
	// Name is the value of the label tenant.
	Name     string `yaml:"name"`
	TenantID string `yaml:"tenant_id"`
	Settings `yaml:",inline"`
}

// Settings are what tenants may have in common.
type Settings struct {
	// API is one of APIs, or Auto. With Cloud, which is one of Clouds, it sets the three
	// addresses that are empty.
	API        string `yaml:"api"`
	Cloud      string `yaml:"cloud"`
	APIURL     string `yaml:"api_url"`
	Auth       `yaml:"auth"`
	Quota      `yaml:"quota"`
	Refresh    `yaml:"refresh"`
	Incidents  `yaml:"incidents"`
	Cache      `yaml:"cache"`
	Connection `yaml:"http"`
}

// Auth has exactly one credential: a secret (or the file that holds it), a
// certificate, a federated token or a managed identity.
type Auth struct {
	AuthURL          string `yaml:"url"`
	AuthScope        string `yaml:"scope"`
	ClientID         string `yaml:"client_id"`
	ClientSecret     Secret
	ClientSecretFile string `yaml:"client_secret_file"`
	// SecretExpires is when the secret ends, as the operator knows it; zero: not known.
	SecretExpires                 time.Time `yaml:"client_secret_expires"`
	ClientCertificateFile         string    `yaml:"client_certificate_file"`
	ClientCertificatePassword     Secret
	ClientCertificatePasswordFile string `yaml:"client_certificate_password_file"`
	FederatedTokenFile            string `yaml:"federated_token_file"`
	ManagedIdentity               bool   `yaml:"managed_identity"`
}

// Quota is what the API allows, in calls: ByAPI, a number, or 0 an hour for no
// such limit; and the share of it that is used.
type Quota struct {
	QuotaPerMinute int     `yaml:"per_minute"`
	QuotaPerHour   int     `yaml:"per_hour"`
	QuotaShare     float64 `yaml:"share"`
}

// Refresh is when the list is read, and how far back.
type Refresh struct {
	Interval      time.Duration `yaml:"interval"`
	SweepInterval time.Duration `yaml:"sweep_interval"`
	Overlap       time.Duration `yaml:"overlap"`
}

// Incidents is which are counted, and from which ages on separately.
type Incidents struct {
	Lookback      time.Duration   `yaml:"lookback"`
	AgeThresholds []time.Duration `yaml:"age_thresholds"`
	Objectives    Objectives      `yaml:"objectives"`
	Dimensions    `yaml:",inline"`
}

// Dimensions are what is counted of incidents besides: nothing by default, for it
// may tell of persons, or make many series.
type Dimensions struct {
	Tags []string `yaml:"tags"`
	// DeviceGroups may be AllDeviceGroups.
	DeviceGroups []string `yaml:"device_groups"`
	Techniques   bool     `yaml:"techniques"`
	// Detectors is how many are shown by themselves; 0: none.
	Detectors int `yaml:"detectors"`
	// Assignees is one of the constants that follow. AssigneesKeyFile is for what
	// needs a key.
	Assignees        string `yaml:"assignees"`
	AssigneesKeyFile string `yaml:"assignees_key_file"`
}

// AllDeviceGroups is in the place of a list of their names.
const AllDeviceGroups = "*"

// How much is told of the persons that incidents are assigned to.
const (
	AssigneesOff    = "off"
	AssigneesCount  = "count"
	AssigneesHashed = "hashed"
	AssigneesNames  = "names"
)

// Objectives are by severity.
type Objectives struct {
	Unknown       Objective `yaml:"unknown"`
	Informational Objective `yaml:"informational"`
	Low           Objective `yaml:"low"`
	Medium        Objective `yaml:"medium"`
	High          Objective `yaml:"high"`
}

// Objective is within which time from its creation an incident is to be assigned,
// first touched and resolved; 0: there is no such objective.
type Objective struct {
	Assign     time.Duration `yaml:"assign"`
	FirstTouch time.Duration `yaml:"first_touch"`
	Resolve    time.Duration `yaml:"resolve"`
}

// Cache is how long the last good counts are shown.
type Cache struct {
	MaxAge time.Duration `yaml:"max_age"`
}

// Connection bounds a call of the API, and says on which way it is made.
type Connection struct {
	Timeout          time.Duration `yaml:"timeout"`
	MaxResponseBytes int64         `yaml:"max_response_bytes"`
	HTTP             HTTP          `yaml:",inline"`
}

// ByAPI is a quota that is not given: Complete puts the API's in its place.
const ByAPI = math.MinInt

// Default is a tenant with every setting that has a default. The look-back is as
// long as the service keeps incidents, 180 days (MicrosoftDocs/defender-docs,
// defender-xdr/api-list-incidents.md).
func Default() Tenant {
	return Tenant{Settings: Settings{
		API:     Defender,
		Cloud:   "public",
		Quota:   Quota{QuotaPerMinute: ByAPI, QuotaPerHour: ByAPI, QuotaShare: 0.8},
		Refresh: Refresh{Interval: 30 * time.Second, SweepInterval: 6 * time.Hour, Overlap: 10 * time.Minute},
		Incidents: Incidents{Lookback: 180 * day, AgeThresholds: []time.Duration{time.Hour, 4 * time.Hour, 8 * time.Hour, day, 3 * day, 7 * day, 30 * day},
			Objectives: Objectives{High: Objective{Assign: time.Hour, Resolve: day}},
			Dimensions: Dimensions{Assignees: AssigneesOff}},
		Cache: Cache{MaxAge: time.Hour},
		Connection: Connection{
			Timeout:          30 * time.Second,
			MaxResponseBytes: 64 << 20,
			HTTP:             HTTP{Proxy: promconfig.ProxyConfig{ProxyFromEnvironment: true}},
		},
	}}
}

// Account identifies what incidents are counted and what quota is spent: one
// tenant by one API. Its state has one owner, so no two tenants of a
// configuration may share it. With Auto it stands for both.
func (t *Tenant) Account() string {
	return strings.ToLower(t.API + "/" + t.TenantID)
}

// Equal tells whether nothing is different but the spelling of the tenant id,
// whose case has no meaning. Where the id is the name, too, its case is seen in
// the label and does count.
func (t *Tenant) Equal(o *Tenant) bool {
	a, b := *t, *o
	a.TenantID, b.TenantID = strings.ToLower(a.TenantID), strings.ToLower(b.TenantID)
	return reflect.DeepEqual(a, b)
}

// HTTP is how the token endpoint and the API are reached. Its paths are
// absolute or relative to the working directory. It never prints itself: the
// address and the headers of a proxy may hold credentials.
type HTTP struct {
	Proxy promconfig.ProxyConfig `yaml:",inline"`
	TLS   promconfig.TLSConfig   `yaml:"tls_config"`
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

// String implements fmt.Stringer.
func (HTTP) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (HTTP) GoString() string { return hidden }

// MarshalText implements encoding.TextMarshaler.
func (HTTP) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Field names a setting as an operator knows it.
type Field struct {
	// Flag and Env are empty if there is none.
	Flag, Env string
	// Path is where it stands in a tenant of the configuration file.
	Path string
}

// String reads "--flag (or ENV)".
func (f Field) String() string {
	switch {
	case f.Flag == "" && f.Env == "":
		return f.Path
	case f.Flag == "":
		return f.Env
	case f.Env == "":
		return "--" + f.Flag
	}
	return "--" + f.Flag + " (or " + f.Env + ")"
}

// Error is one setting that is not right, and what would be.
type Error struct {
	// Where is the place in the configuration file; empty: the command line.
	Where string
	Field Field
	Text  string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Where == "" {
		return e.Field.String() + " " + e.Text
	}
	return e.Where + ": " + e.Field.Path + " " + e.Text
}

// place is where settings come from, to speak of them as their author does.
type place string

const commandLine place = ""

func (p place) name(f Field) string {
	if p == commandLine {
		return f.String()
	}
	return f.Path
}

// wrong makes an *Error. Arguments that are Fields read as they are known at
// the place.
func (p place) wrong(f Field, format string, args ...any) error {
	for i, arg := range args {
		if field, ok := arg.(Field); ok {
			args[i] = p.name(field)
		}
	}
	return &Error{string(p), f, fmt.Sprintf(format, args...)}
}
