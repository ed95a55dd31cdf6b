package app

import (
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"m365_defender_exporter/internal/config"
)

// tenantFlags describe one tenant, where there is no configuration file.
func tenantFlags(app *kingpin.Application, t *config.Tenant) {
	app.Flag("tenant.id", "Directory (tenant) id.").Envar("AZURE_TENANT_ID").StringVar(&t.TenantID)
	app.Flag("tenant.name", "Value of the label tenant. Default: the tenant id.").StringVar(&t.Name)
	app.Flag("client.id", "Application (client) id of the app registration.").Envar("AZURE_CLIENT_ID").StringVar(&t.ClientID)
	credentialFlags(app, t)

	app.Flag("api", "API to read: defender is the native incidents API, graph is Microsoft Graph, auto is the native one, and Graph where that is gone or refuses the application.").Default(t.API).StringVar(&t.API)
	app.Flag("cloud", "Cloud of the tenant (public, gcc, gcc-high or dod): sets the login host, the API host and the scope together.").Default(t.Cloud).StringVar(&t.Cloud)
	app.Flag("api.url", "Base URL of the API. Default: by --cloud and --api.").StringVar(&t.APIURL)
	app.Flag("auth.url", "Base URL of the login. Default: by --cloud.").Envar("AZURE_AUTHORITY_HOST").StringVar(&t.AuthURL)
	app.Flag("auth.scope", "Scope of the access token. Default: by --cloud and --api.").StringVar(&t.AuthScope)
	quotaFlag(app, "api.quota-per-minute", fmt.Sprintf("Calls that the API allows in a minute. Default: by --api, %d or %d.",
		config.Limits[config.Defender].PerMinute, config.Limits[config.Graph].PerMinute), &t.QuotaPerMinute)
	quotaFlag(app, "api.quota-per-hour", fmt.Sprintf("Calls that the API allows in an hour; 0 for no such limit. Default: by --api, %d or none.",
		config.Limits[config.Defender].PerHour), &t.QuotaPerHour)
	settingFlag(app, "api.quota-share", "Fraction of the quota to use; the rest is left to other tools of the same app registration.", &t.QuotaShare)
	settingFlag(app, "api.timeout", "Longest time that one call may take.", &t.Timeout)
	settingFlag(app, "api.max-response-bytes", "Largest body of an answer, decompressed.", &t.MaxResponseBytes)

	settingFlag(app, "refresh.interval", "Shortest time between refreshes; it becomes longer if the quota demands it.", &t.Interval)
	settingFlag(app, "refresh.sweep-interval", "Time between sweeps, which read everything again from spare quota.", &t.SweepInterval)
	settingFlag(app, "refresh.overlap", "How far a refresh reaches back, because changes may become visible late.", &t.Overlap)
	settingFlag(app, "incidents.lookback", "How long resolved incidents count after their last update. Open ones count at any age.", &t.Lookback)
	durationsFlag(app, "incidents.age-threshold", "Age past which open incidents are counted; repeatable. Default: 1h 4h 8h 24h 72h 168h 720h.", &t.AgeThresholds)
	objectivesFlag(app, "incidents.objective", "Times within which incidents of a severity are to be assigned, touched (first_touch) and resolved, such as high=assign:15m,resolve:4h; repeatable; empty: none. Default: high=assign:1h,resolve:24h.", &t.Objectives)
	dimensionFlags(app, &t.Dimensions)
	settingFlag(app, "cache.max-age", "Age past which the last good counts are no longer shown.", &t.MaxAge)
}

// dimensionFlags are all off by default; docs/privacy.md says what leaves the machine.
func dimensionFlags(app *kingpin.Application, d *config.Dimensions) {
	settingFlag(app, "incidents.tags", "Tags by which open incidents are counted, with commas between; others are not shown.", &d.Tags)
	settingFlag(app, "incidents.device-groups", "Device groups by which open incidents are counted, with commas between; others are not shown. * for all.", &d.DeviceGroups)
	app.Flag("incidents.techniques", "Count open incidents by MITRE ATT&CK technique.").BoolVar(&d.Techniques)
	settingFlag(app, "incidents.detectors", "Count resolved incidents by detector: so many by themselves, the others together; 0 for none.", &d.Detectors)
	settingFlag(app, "incidents.assignees", "What is told of the persons that incidents are assigned to: off, count, hashed or names.", &d.Assignees)
	app.Flag("incidents.assignees-key-file", "File with the key of the hashes, at least 16 random bytes; for --incidents.assignees=count and hashed.").StringVar(&d.AssigneesKeyFile)
}

// givenFlags lists the flags that the command line itself has.
func givenFlags(parsed *kingpin.ParseContext) (names []string) {
	for _, element := range parsed.Elements {
		if flag, ok := element.Clause.(*kingpin.FlagClause); ok {
			names = append(names, flag.Model().Name)
		}
	}
	return names
}
