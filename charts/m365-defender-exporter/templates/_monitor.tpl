{{/* The endpoint of a monitor: a list of the root and the monitor's values. */}}
{{- define "m365-defender-exporter.endpoint" -}}
{{- $root := index . 0 }}{{ $m := index . 1 -}}
port: http
path: {{ $root.Values.web.telemetryPath | quote }}
scheme: {{ default (include "m365-defender-exporter.scheme" $root) $m.scheme }}
{{- with $m.interval }}
interval: {{ . }}
{{- end }}
{{- with $m.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- range $field := list "tlsConfig" "basicAuth" "relabelings" "metricRelabelings" }}
{{- with index $m $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a ServiceMonitor and a PodMonitor select. */}}
{{- define "m365-defender-exporter.selector" -}}
{{- $root := index . 0 }}{{ $m := index . 1 -}}
selector:
  matchLabels:
    {{- include "m365-defender-exporter.selectorLabels" $root | nindent 4 }}
namespaceSelector:
  matchNames:
    - {{ include "m365-defender-exporter.namespace" $root | quote }}
{{- with $m.jobLabel }}
jobLabel: {{ . | quote }}
{{- end }}
{{- with $m.sampleLimit }}
sampleLimit: {{ . }}
{{- end }}
{{- if $m.scrapeNativeHistograms }}
scrapeNativeHistograms: true
{{- end }}
{{- end }}
