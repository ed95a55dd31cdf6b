{{/* The endpoint of a monitor, without its extraEndpoint: a list of the root and the monitor's values. */}}
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
{{- if $m.honorLabels }}
honorLabels: true
{{- end }}
{{- range $field := list "tlsConfig" "basicAuth" "relabelings" "metricRelabelings" }}
{{- with index $m $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a ServiceMonitor and a PodMonitor select: a list of the root, the monitor's values, and labels to select by besides those of all objects. */}}
{{- define "m365-defender-exporter.selector" -}}
{{- $root := index . 0 }}{{ $m := index . 1 -}}
selector:
  matchLabels:
    {{- include "m365-defender-exporter.selectorLabels" $root | nindent 4 }}
    {{- with index . 2 }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
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
{{- /* Azure Monitor drops what a monitor without these scrapes. */}}
{{- $azure := hasPrefix "azmonitoring." $m.apiVersion }}
{{- range $field, $limit := dict "labelLimit" 63 "labelNameLengthLimit" 511 "labelValueLengthLimit" 1023 }}
{{- with default (ternary $limit 0 $azure) (index $m $field) }}
{{ $field }}: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/*
A monitor: a list of the root, its kind, its values, and what of its spec is its own: the labels to select by, and how the lists of labels and
of endpoints are called.
*/}}
{{- define "m365-defender-exporter.monitor" -}}
{{- $root := index . 0 }}{{ $m := index . 2 }}{{ $own := index . 3 -}}
{{- $spec := include "m365-defender-exporter.selector" (list $root $m $own.select) | fromYaml -}}
{{- with index $m $own.labels }}{{ $_ := set $spec $own.labels . }}{{ end -}}
{{- $endpoint := include "m365-defender-exporter.endpoint" (list $root $m) | fromYaml -}}
{{- $_ := set $spec $own.endpoints (list (merge (dict) $m.extraEndpoint $endpoint)) -}}
apiVersion: {{ $m.apiVersion }}
kind: {{ index . 1 }}
metadata:
  {{- include "m365-defender-exporter.metadata" (list $root "" (pick $m "namespace" "labels" "annotations")) | nindent 2 }}
spec:
  {{- toYaml (merge (dict) $m.extraSpec $spec) | nindent 2 }}
{{- end }}
