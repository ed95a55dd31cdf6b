{{/* Refuses values that render but do not work. Each sentence says what is wrong and what would be right. */}}
{{- define "m365-defender-exporter.validate" -}}
{{- with .Values }}
{{- if gt (int .replicaCount) 1 }}
{{- fail (printf "replicaCount is %d: two replicas would spend the tenant's quota twice and count its incidents twice; run one, and let as many Prometheus servers scrape it as you like" (int .replicaCount)) }}
{{- end }}
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
{{- range $flag := list "config.file" "state.url" "web.listen-address" "web.probe-listen-address" "web.config.file" "web.telemetry-path" "log.level" "log.format" }}
{{- if regexMatch (printf "^--%s(=|$)" (replace "." "\\." $flag)) $arg }}{{ fail (printf "extraArgs has --%s, which the chart sets; use its value" $flag) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
