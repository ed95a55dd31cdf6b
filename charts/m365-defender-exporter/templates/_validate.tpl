{{/* A duration of Prometheus in milliseconds. */}}
{{- define "m365-defender-exporter.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000 "y" 31536000000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|[smhdwy])" . -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{/* Refuses values that render but do not work. Each sentence says what is wrong and what would be right. */}}
{{- define "m365-defender-exporter.validate" -}}
{{- $full := include "m365-defender-exporter.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) }}
{{- fail (printf "objects would be named %s, which a Service cannot be: lower case letters, digits and -, and a letter first; set fullnameOverride" $full) }}
{{- end }}
{{- range $monitor := list "serviceMonitor" "podMonitor" }}
{{- $m := index $.Values $monitor }}
{{- if and $m.enabled $m.scrapeTimeout (gt (include "m365-defender-exporter.milliseconds" $m.scrapeTimeout | int64) (include "m365-defender-exporter.milliseconds" $m.interval | int64)) }}
{{- fail (printf "%s.scrapeTimeout is %s, longer than %s.interval, %s; Prometheus refuses that" $monitor $m.scrapeTimeout $monitor $m.interval) }}
{{- end }}
{{- if and $m.enabled $m.scrapeNativeHistograms (hasPrefix "azmonitoring." $m.apiVersion) }}
{{- fail (printf "%s.scrapeNativeHistograms is true, and monitors of Azure Monitor have no such field: it would be dropped without an error; if yours have it set %s.extraSpec.scrapeNativeHistograms" $monitor $monitor) }}
{{- end }}
{{- end }}
{{- with .Values }}
{{- $shared := include "m365-defender-exporter.sharedState" $ }}
{{- if and (gt (int .replicaCount) 1) (not $shared) }}
{{- fail (printf "replicaCount is %d, and state.url is not redis:// or rediss://: replicas that share no state would spend the quota twice and count incidents twice; run one, or give them a Redis or Valkey" (int .replicaCount)) }}
{{- end }}
{{- if and .demo $shared }}{{ fail "demo is true and state.url is redis:// or rediss://; each demo simulates a tenant of its own, which others cannot go on with" }}{{ end }}
{{- if regexMatch "^rediss?://[^/?#]*:[^/?#]*@" .state.url }}{{ fail "state.url has a password; put it into a Secret, and name that in state.existingSecret" }}{{ end }}
{{- if not $shared }}
{{- if or .state.existingSecret .replica.patience }}{{ fail "state.existingSecret and replica.patience are for a Redis or Valkey; set state.url to redis:// or rediss://" }}{{ end }}
{{- end }}
{{- if and (or .state.caSecret .state.certificateSecret) (not (hasPrefix "rediss://" .state.url)) }}{{ fail "state.caSecret and state.certificateSecret are for TLS; set state.url to rediss://" }}{{ end }}
{{- if and .tenant.tenantId .tenants }}{{ fail "tenant.tenantId and tenants are both set; write the one tenant into tenants" }}{{ end }}
{{- if and .demo (or .tenant.tenantId .tenants) }}{{ fail "demo is true and a tenant is configured; real and simulated incidents do not mix" }}{{ end }}
{{- if and (not .tenant.tenantId) (or .tenant.name .tenant.clientId .tenant.api .tenant.cloud) }}{{ fail "tenant is given without tenant.tenantId" }}{{ end }}
{{- if and .defaults (not .tenant.tenantId) (not .tenants) }}{{ fail "defaults are given without a tenant; set tenant.tenantId or tenants" }}{{ end }}
{{- if and .serviceMonitor.enabled .podMonitor.enabled }}
{{- fail "serviceMonitor and podMonitor are both enabled: Prometheus would scrape the exporter twice and sums would be twice as high; enable one" }}
{{- end }}
{{- if eq (int .probes.port) 10058 }}{{ fail "probes.port is 10058, which is the port of the metrics; choose another" }}{{ end }}
{{- if and .webConfig.existingSecret .webConfig.config }}{{ fail "webConfig.existingSecret and webConfig.config are both set; one is enough" }}{{ end }}
{{- if and (not (include "m365-defender-exporter.hasConfig" $)) .web.enableLifecycle }}{{ fail "web.enableLifecycle is true, but without tenants there is no configuration file to read anew" }}{{ end }}
{{- range $arg := .extraArgs }}
{{- range $flag := list "config.file" "state.url" "state.password-file" "state.ca-file" "state.certificate-file" "state.key-file" "replica.name" "replica.patience" "web.listen-address" "web.probe-listen-address" "web.config.file" "web.telemetry-path" "log.level" "log.format" }}
{{- if regexMatch (printf "^--%s(=|$)" (replace "." "\\." $flag)) $arg }}{{ fail (printf "extraArgs has --%s, which the chart sets; use its value" $flag) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
