package app

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/web"
)

// Options are what the command line and the environment say; [Parse] makes them.
// They belong to this package: every room gets what it needs, and not them.
type Options struct {
	tenants       []config.Tenant // as the configFiles were at the start; one without them
	configFiles   []string        // or directories of them
	state         string
	stateIsSet    bool
	replicaName   string
	patience      time.Duration // for other replicas
	stateAccess   stateAccess
	configCheck   bool
	command       string // serve, check or demo-history
	checkFormat   string
	demo          bool
	given         []string // the flags that the command line itself has
	demoTenants   int
	history       historyOptions
	web           *toolkit.FlagConfig
	telemetryPath string
	probeAddress  string
	lifecycle     bool
	pprof         bool
	createdLines  bool
	log           *promslog.Config
}

// String shows nothing: the options hold secrets.
func (o *Options) String() string { return "app.Options" }

// GoString is String.
func (o *Options) GoString() string { return o.String() }

// ErrDone says that the command line asked for something that is done by now:
// the help or the version.
var ErrDone = errors.New("done")

// Parse reads the command line first, the environment second, defaults last.
// The error is one line for the operator, or ErrDone.
func Parse(args []string, stdout, stderr io.Writer) (*Options, error) {
	tenant := config.Default()
	o := &Options{log: &promslog.Config{Writer: stderr}}
	app := kingpin.New("m365_defender_exporter",
		"Prometheus exporter for Microsoft 365 Defender (Defender XDR) incidents. Try it without credentials: --demo")
	app.UsageWriter(stdout).ErrorWriter(stderr)
	app.HelpFlag.Short('h')
	done := false
	app.Terminate(func(int) { done = true })
	app.Version(version.Print("m365_defender_exporter"))
	app.VersionFlag.Short('V')
	app.Command("serve", "Refresh the counts and serve them. This is the default.").Default()
	check := app.Command("check", "Try every step from the configuration to one call of the API, say what is wrong and how to fix it, and exit.")
	formatFlag(check, &o.checkFormat)

	historyFlags(app.Command(demoHistory, "Write what the demo would have exposed over the last 14 days, as OpenMetrics for promtool tsdb create-blocks-from openmetrics, and exit."), &o.history)

	app.Flag("demo", "Serve a simulated tenant, no credentials needed.").BoolVar(&o.demo)
	demoTenantsFlag(app, &o.demoTenants)
	app.Flag("config.file", "Configuration file, for several tenants, or a directory of them (*.yml, *.yaml). May be repeated. They are read again on SIGHUP.").StringsVar(&o.configFiles)
	app.Flag("config.check", "Check the configuration, say what is wrong with it, and exit.").BoolVar(&o.configCheck)

	app.Flag("service.install", "Install the exporter as a service of Windows that runs with the other flags given here, or change the flags of the one that is installed, and exit.").BoolVar(new(bool))
	app.Flag("service.uninstall", "Stop the service of Windows, remove it, and exit. Its directory stays.").BoolVar(new(bool))

	tenantFlags(app, &tenant)

	app.Flag("state.url", "Where the state is kept over restarts: file: and a directory, redis://HOST or rediss://HOST to share it with other replicas, or memory: for nowhere. The demo uses memory: unless this is given.").
		Default("file:data").IsSetByUser(&o.stateIsSet).StringVar(&o.state)
	stateFlags(app, &o.stateAccess)

	replicaFlags(app, o)

	o.web = kingpinflag.AddFlags(app, ":10058")
	app.Flag("web.telemetry-path", "Path under which to expose metrics.").Default("/metrics").StringVar(&o.telemetryPath)
	app.Flag("web.probe-listen-address", "Address of a second, plain port with /-/healthy and /-/ready only, for probes when the first one asks for TLS or a password.").StringVar(&o.probeAddress)
	app.Flag("web.enable-lifecycle", "Reload the configuration on POST or PUT of /-/reload.").BoolVar(&o.lifecycle)
	app.Flag("web.enable-pprof", "Serve profiles under /debug/pprof/.").BoolVar(&o.pprof)
	app.Flag("web.openmetrics-created", "Write start times into OpenMetrics, as lines _created, for servers that take them for that. Others keep them as series. In protobuf they always are.").BoolVar(&o.createdLines)
	promslogflag.AddFlags(app, o.log)
	app.GetFlag(promslogflag.LevelFlagName).SetValue(named{o.log.Level, promslogflag.LevelFlagName})
	app.GetFlag(promslogflag.FormatFlagName).SetValue(named{o.log.Format, promslogflag.FormatFlagName})

	context, err := app.ParseContext(args)
	if err == nil {
		o.command, err = app.Parse(args)
	}
	if done {
		return nil, ErrDone
	}
	if err != nil {
		return nil, fmt.Errorf("%w; see --help, or look around with --demo", err)
	}
	o.configFiles = slices.DeleteFunc(o.configFiles, func(path string) bool { return path == "" })
	o.given = givenFlags(context)
	if o.demo = o.demo || o.command == demoHistory; o.demo {
		demoDefaults(&tenant, o, o.given)
	}
	if len(o.configFiles) == 0 {
		credentialEnvironment(&tenant)
	}
	return o, o.validate(tenant)
}

func (o *Options) validate(tenant config.Tenant) error {
	if err := web.CheckTelemetryPath(o.telemetryPath); err != nil {
		return fmt.Errorf("--web.telemetry-path is %w", err)
	}
	if err := o.checkAddresses(); err != nil {
		return err
	}
	shared, err := o.checkState()
	if err != nil {
		return err
	}
	if err := o.validateReplica(shared, o.given); err != nil {
		return err
	}
	if err := checkWebConfig(*o.web.WebConfigFile); err != nil {
		return err
	}
	if !o.demo && slices.Contains(o.given, "demo.tenants") {
		return errors.New("--demo.tenants is given without --demo; it is the number of simulated tenants")
	}
	if o.command == demoHistory && len(o.configFiles) > 0 {
		return errors.New("demo-history is given together with --config.file; it writes the past of simulated tenants only")
	}
	if len(o.configFiles) == 0 {
		o.tenants = []config.Tenant{tenant}
		if o.demo {
			complete := demoTenant(tenant, 0, "http://127.0.0.1")
			if err := complete.Complete(); err != nil || !o.configCheck {
				return err
			}
			o.tenants[0] = complete
			return nil
		}
		if err := o.tenants[0].Complete(); err != nil {
			return fmt.Errorf("%w; to look around without credentials run with --demo", err)
		}
		return checkProxyEnvironment(o.tenants)
	}
	for _, flag := range o.given {
		if ofTenant(flag) || flag == "demo" {
			return fmt.Errorf("--%s is given together with --config.file; it must be one of them: tenants are described in the file or by flags", flag)
		}
	}
	o.tenants, err = readConfig(o.configFiles)
	return err
}

// ofTenant tells whether a flag describes the tenant.
func ofTenant(flag string) bool {
	area, _, _ := strings.Cut(flag, ".")
	return slices.Contains([]string{"tenant", "client", "api", "cloud", "auth", "refresh", "incidents", "cache"}, area)
}

// stateURL leaves the disk alone for a demo.
func (o *Options) stateURL() string {
	if o.demo && !o.stateIsSet {
		return "memory:"
	}
	return o.state
}
