package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"m365_defender_exporter/internal/config"
)

// options are what the command line and the environment say.
type options struct {
	tenant        config.Tenant
	web           *web.FlagConfig
	telemetryPath string
	pprof         bool
	configCheck   bool
	demo          bool
	log           *promslog.Config
}

// errDone says that the command line asked for something that is done by now:
// the help or the version.
var errDone = errors.New("done")

// parse reads the command line first, the environment second, defaults last.
// The error is one line for the operator, or errDone.
func parse(args []string, stdout, stderr io.Writer) (*options, error) {
	o := &options{tenant: config.Default(), log: &promslog.Config{Writer: stderr}}
	t := &o.tenant
	app := kingpin.New("m365_defender_exporter",
		"Prometheus exporter for Microsoft 365 Defender (Defender XDR) incidents. Try it without credentials: --demo")
	app.UsageWriter(stdout).ErrorWriter(stderr)
	app.HelpFlag.Short('h')
	done := false
	app.Terminate(func(int) { done = true })
	app.Version(version.Print("m365_defender_exporter"))
	app.VersionFlag.Short('V')
	app.Command("serve", "Refresh the counts and serve them. This is the default.").Default()

	app.Flag("demo", "Serve a simulated tenant, no credentials needed.").BoolVar(&o.demo)
	app.Flag("config.check", "Check the configuration, say what is wrong with it, and exit.").BoolVar(&o.configCheck)

	app.Flag("tenant.id", "Directory (tenant) id.").Envar("AZURE_TENANT_ID").StringVar(&t.TenantID)
	app.Flag("tenant.name", "Value of the label tenant. Default: the tenant id.").StringVar(&t.Name)
	app.Flag("client.id", "Application (client) id of the app registration.").Envar("AZURE_CLIENT_ID").StringVar(&t.ClientID)
	app.Flag("client.secret-file", "File that holds the client secret; it is read again for every token. Or set AZURE_CLIENT_SECRET.").StringVar(&t.ClientSecretFile)

	app.Flag("api", "API to read: defender is the native incidents API, graph that of Microsoft Graph.").Default(t.API).StringVar(&t.API)
	app.Flag("cloud", "Cloud of the tenant (public, gcc, gcc-high or dod): with --api it sets the login host, the API host and the scope together.").Default(t.Cloud).StringVar(&t.Cloud)
	app.Flag("api.url", "Base URL of the API. Default: by --cloud.").StringVar(&t.APIURL)
	app.Flag("auth.url", "Base URL of the login. Default: by --cloud.").StringVar(&t.AuthURL)
	app.Flag("auth.scope", "Scope of the access token. Default: by --cloud.").StringVar(&t.AuthScope)
	quotaFlag(app, "api.quota-per-minute", "Calls that the API allows in a minute. Default: 50, or 150 with --api=graph.", &t.QuotaPerMinute)
	quotaFlag(app, "api.quota-per-hour", "Calls that the API allows in an hour; 0 for no such limit. Default: 1500, or none with --api=graph.", &t.QuotaPerHour)
	floatFlag(app, "api.quota-share", "Fraction of the quota to use; the rest is left to other tools of the same app registration.", &t.QuotaShare)
	durationFlag(app, "api.timeout", "Longest time that one call may take.", &t.Timeout)
	bytesFlag(app, "api.max-response-bytes", "Largest body of an answer, decompressed.", &t.MaxResponseBytes)

	durationFlag(app, "refresh.interval", "Shortest time between refreshes; it becomes longer if the quota demands it.", &t.Interval)
	durationFlag(app, "refresh.sweep-interval", "Time between sweeps, which read everything again from spare quota.", &t.SweepInterval)
	durationFlag(app, "refresh.overlap", "How far a refresh reaches back, because changes may become visible late.", &t.Overlap)
	durationFlag(app, "incidents.lookback", "How long resolved incidents count after their last update. Open ones count at any age.", &t.Lookback)
	var thresholds []time.Duration
	addFlag(app, "incidents.age-threshold", "Age past which open incidents are counted; repeatable. Default: 1h 4h 8h 24h 72h 168h 720h.",
		value[time.Duration]{parse: parseDuration, many: true, set: func(d time.Duration) { thresholds = append(thresholds, d) }})
	durationFlag(app, "cache.max-age", "Age past which the last good counts are no longer shown.", &t.MaxAge)

	o.web = kingpinflag.AddFlags(app, ":10058")
	app.Flag("web.telemetry-path", "Path under which to expose metrics.").Default("/metrics").StringVar(&o.telemetryPath)
	app.Flag("web.enable-pprof", "Serve profiles under /debug/pprof/.").BoolVar(&o.pprof)
	promslogflag.AddFlags(app, o.log)

	_, err := app.Parse(args)
	if done {
		return nil, errDone
	}
	if err != nil {
		return nil, fmt.Errorf("%w; see --help, or look around with --demo", err)
	}
	t.ClientSecret = config.Secret(os.Getenv("AZURE_CLIENT_SECRET"))
	if len(thresholds) > 0 {
		t.AgeThresholds = thresholds
	}
	return o, o.validate()
}

func (o *options) validate() error {
	if len(o.telemetryPath) < 2 || o.telemetryPath[0] != '/' {
		return fmt.Errorf("--web.telemetry-path is %q; it must be a path such as /metrics", o.telemetryPath)
	}
	if slices.Contains([]string{"/status", "/-/healthy", "/-/ready"}, o.telemetryPath) {
		return fmt.Errorf("--web.telemetry-path is %q, where something else is served; it must be another path such as /metrics", o.telemetryPath)
	}
	if err := web.Validate(*o.web.WebConfigFile); err != nil {
		return fmt.Errorf("--web.config.file %s: %w", *o.web.WebConfigFile, err)
	}
	if o.demo {
		if !slices.Contains(config.APIs(), o.tenant.API) {
			return fmt.Errorf("--api is %q; it must be one of %s", o.tenant.API, strings.Join(config.APIs(), ", "))
		}
		return nil
	}
	if err := o.tenant.Complete(); err != nil {
		return fmt.Errorf("%w; to look around without credentials run with --demo", err)
	}
	return nil
}
