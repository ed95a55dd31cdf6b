{{- define "m365-defender-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "m365-defender-exporter.fullname" -}}
{{- $name := include "m365-defender-exporter.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "m365-defender-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "m365-defender-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "m365-defender-exporter.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* What the values add to the labels of every object and of the pods. It must not change whom a Service or a monitor selects, nor whose the object is. */}}
{{- define "m365-defender-exporter.commonLabels" -}}
{{- $labels := omit .Values.commonLabels "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/managed-by" "helm.sh/chart" -}}
{{- if .Values.releaseLabel }}{{ $_ := set $labels "release" .Release.Name }}{{ end -}}
{{- toYaml $labels }}
{{- end }}

{{/* The labels of an object: a list of the root, and the object's own labels. */}}
{{- define "m365-defender-exporter.labels" -}}
{{- $root := index . 0 -}}
{{- $fixed := include "m365-defender-exporter.selectorLabels" $root | fromYaml -}}
{{- $_ := set $fixed "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $fixed "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $usual := dict "app.kubernetes.io/version" $root.Chart.AppVersion "app.kubernetes.io/part-of" (include "m365-defender-exporter.name" $root) -}}
{{- toYaml (merge $fixed (default (dict) (index . 1)) (include "m365-defender-exporter.commonLabels" $root | fromYaml) $usual) }}
{{- end }}

{{/* No version among them: a new chart whose pod is the old one must not restart it. */}}
{{- define "m365-defender-exporter.podLabels" -}}
{{- $t := include "m365-defender-exporter.tenants" . | fromYaml -}}
{{- $labels := include "m365-defender-exporter.selectorLabels" . | fromYaml -}}
{{- if and (hasKey $t.modes "workloadIdentity") .Values.workloadIdentity.webhook }}
{{- $_ := set $labels "azure.workload.identity/use" "true" }}
{{- end }}
{{- toYaml (merge (dict) $labels .Values.podLabels (include "m365-defender-exporter.commonLabels" . | fromYaml)) }}
{{- end }}

{{/* metadata of an object: a list of the root, the last part of the name, and what the values say: namespace, labels, annotations. */}}
{{- define "m365-defender-exporter.metadata" -}}
{{- $root := index . 0 }}{{ $suffix := index . 1 }}{{ $own := index . 2 -}}
{{- $full := include "m365-defender-exporter.fullname" $root -}}
{{- if $suffix }}{{ $full = printf "%s-%s" ($full | trunc (int (sub 62 (len $suffix))) | trimSuffix "-") $suffix }}{{ end -}}
name: {{ default $full $own.name | quote }}
namespace: {{ default (include "m365-defender-exporter.namespace" $root) $own.namespace | quote }}
labels:
  {{- include "m365-defender-exporter.labels" (list $root $own.labels) | nindent 2 }}
{{- with $own.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "m365-defender-exporter.image" -}}
{{- $image := .Values.image -}}
{{- with default $image.registry .Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end }}

{{- define "m365-defender-exporter.testName" -}}
{{- printf "%s-test" (include "m365-defender-exporter.name" . | trunc 58 | trimSuffix "-") }}
{{- end }}

{{/* A registry for all images takes the place of the test image's own. */}}
{{- define "m365-defender-exporter.testImage" -}}
{{- $image := .Values.helmTest.image -}}
{{- with .Values.global.imageRegistry }}{{ $image = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^[^/]*[.:][^/]*/" $image "") }}{{ end -}}
{{- $image }}
{{- end }}

{{- define "m365-defender-exporter.pullSecrets" -}}
{{- range concat (default (list) .Values.global.imagePullSecrets) .Values.image.pullSecrets .Values.imagePullSecrets }}
- name: {{ if kindIs "string" . }}{{ quote . }}{{ else }}{{ quote .name }}{{ end }}
{{- end }}
{{- end }}

{{- define "m365-defender-exporter.serviceAccountName" -}}
{{- default (ternary (include "m365-defender-exporter.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "m365-defender-exporter.webConfigEnabled" -}}
{{- with .Values.webConfig }}{{ if or .existingSecret .config .tlsSecret }}true{{ end }}{{ end }}
{{- end }}

{{/* The web configuration file of the values, which names the certificate of tlsSecret. */}}
{{- define "m365-defender-exporter.webConfig" -}}
{{- $config := deepCopy .Values.webConfig.config -}}
{{- if and .Values.webConfig.tlsSecret (not $config.tls_server_config) }}
{{- $_ := set $config "tls_server_config" (dict "cert_file" "tls.crt" "key_file" "tls.key") }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- define "m365-defender-exporter.scheme" -}}
{{- $config := include "m365-defender-exporter.webConfig" . | fromYaml -}}
{{- ternary "https" "http" (and (hasKey $config "tls_server_config") (not .Values.webConfig.existingSecret)) }}
{{- end }}

{{/* A kubelet can neither log in nor, behind a policy, be named: it is given a port of its own. */}}
{{- define "m365-defender-exporter.probePort" -}}
{{- if or (include "m365-defender-exporter.webConfigEnabled" .) .Values.networkPolicy.enabled }}probe{{ else }}http{{ end }}
{{- end }}

{{/* Whether the state is kept where several replicas can share it. */}}
{{- define "m365-defender-exporter.sharedState" -}}
{{- if regexMatch "^rediss?://" .Values.state.url }}true{{ end }}
{{- end }}

{{/* The ports at which the Redis or Valkey is reached. Whom a Sentinel names is not known, but listens on the usual port. */}}
{{- define "m365-defender-exporter.statePorts" -}}
{{- if include "m365-defender-exporter.sharedState" . -}}
{{- $ports := .Values.networkPolicy.statePorts -}}
{{- if not $ports -}}
{{- $url := urlParse .Values.state.url -}}
{{- $hosts := list $url.host -}}
{{- range regexFindAll "(^|&)addr=[^&]*" $url.query -1 }}{{ $hosts = append $hosts (regexReplaceAll "%3[Aa]" . ":") }}{{ end -}}
{{- $sentinel := regexMatch "(^|&)master_name=" $url.query -}}
{{- $usual := ternary "26379" "6379" $sentinel -}}
{{- range $hosts }}{{ $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default $usual | int) }}{{ end -}}
{{- if $sentinel }}{{ $ports = append $ports 6379 }}{{ end -}}
{{- end -}}
{{- toYaml (uniq $ports) }}
{{- end }}
{{- end }}

{{- define "m365-defender-exporter.severalReplicas" -}}
{{- if and (include "m365-defender-exporter.sharedState" .) (gt (int .Values.replicaCount) 1) }}true{{ end }}
{{- end }}

{{/* What the Secrets of state hold, as YAML: a list of {flag, secret, key, path}. */}}
{{- define "m365-defender-exporter.stateFiles" -}}
{{- $files := list -}}
{{- with .Values.state -}}
{{- if .existingSecret }}{{ $files = append $files (dict "flag" "password-file" "secret" .existingSecret "key" .existingSecretKey "path" "password") }}{{ end -}}
{{- if .caSecret }}{{ $files = append $files (dict "flag" "ca-file" "secret" .caSecret "key" .caSecretKey "path" "ca.crt") }}{{ end -}}
{{- if .certificateSecret }}
{{- $files = append $files (dict "flag" "certificate-file" "secret" .certificateSecret "key" "tls.crt" "path" "tls.crt") }}
{{- $files = append $files (dict "flag" "key-file" "secret" .certificateSecret "key" "tls.key" "path" "tls.key") }}
{{- end -}}
{{- end -}}
{{- toYaml (dict "files" $files) }}
{{- end }}

{{- define "m365-defender-exporter.stateVolume" -}}
{{- if not (or .Values.state.url .Values.demo) }}true{{ end }}
{{- end }}

{{/* The claim that holds the state; empty: there is none. */}}
{{- define "m365-defender-exporter.claim" -}}
{{- if and (include "m365-defender-exporter.stateVolume" .) .Values.persistence.enabled }}
{{- default (include "m365-defender-exporter.fullname" .) .Values.persistence.existingClaim }}
{{- end }}
{{- end }}

{{/* A file with the address of the runbook: a list of the root and the text. */}}
{{- define "m365-defender-exporter.runbook" -}}
{{- $url := (index . 0).Values.runbookUrl }}{{ $text := index . 1 -}}
{{- if $url }}{{ $text = replace "https://runbooks.example.com/m365-defender-exporter/runbook.md" $url $text }}{{ end -}}
{{- $text }}
{{- end }}
