{{- define "m365-defender-exporter.args" -}}
{{- $args := list -}}
{{- if .Values.demo }}{{ $args = append $args "--demo" }}{{ end -}}
{{- if include "m365-defender-exporter.hasConfig" . }}
{{- range (include "m365-defender-exporter.configFiles" . | fromYaml).files }}{{ $args = append $args (printf "--config.file=/etc/m365_defender_exporter/%s" .key) }}{{ end -}}
{{- end -}}
{{- if include "m365-defender-exporter.stateVolume" . }}{{ $args = append $args "--state.url=file:/var/lib/m365_defender_exporter" }}
{{- else if .Values.state.url }}{{ $args = append $args (printf "--state.url=%s" .Values.state.url) }}{{ end -}}
{{- range (include "m365-defender-exporter.stateFiles" . | fromYaml).files }}{{ $args = append $args (printf "--state.%s=/etc/m365_defender_exporter-state/%s" .flag .path) }}{{ end -}}
{{- if include "m365-defender-exporter.sharedState" . }}{{ $args = append $args "--replica.name=$(REPLICA_NAME)" }}{{ end -}}
{{- with .Values.replica.patience }}{{ $args = append $args (printf "--replica.patience=%s" .) }}{{ end -}}
{{- $args = append $args "--web.listen-address=:10058" -}}
{{- if eq (include "m365-defender-exporter.probePort" .) "probe" }}{{ $args = append $args (printf "--web.probe-listen-address=:%d" (int .Values.probes.port)) }}{{ end -}}
{{- if include "m365-defender-exporter.webConfigEnabled" . }}
{{- $file := ternary .Values.webConfig.existingSecretKey "web-config.yml" (ne .Values.webConfig.existingSecret "") -}}
{{- $args = append $args (printf "--web.config.file=/etc/m365_defender_exporter-web/%s" $file) }}
{{- end -}}
{{- $args = append $args (printf "--web.telemetry-path=%s" .Values.web.telemetryPath) -}}
{{- if .Values.web.enableLifecycle }}{{ $args = append $args "--web.enable-lifecycle" }}{{ end -}}
{{- $args = concat $args (list (printf "--log.level=%s" .Values.log.level) (printf "--log.format=%s" .Values.log.format)) .Values.extraArgs -}}
{{- toYaml $args }}
{{- end }}

{{/* A host name is cut after 63 characters; the name of a pod is not. */}}
{{- define "m365-defender-exporter.env" -}}
{{- if include "m365-defender-exporter.sharedState" . }}
- name: REPLICA_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The constraints of the values; where there are several replicas and none, one that keeps them on different hosts. */}}
{{- define "m365-defender-exporter.topologySpread" -}}
{{- if .Values.topologySpreadConstraints }}
{{- toYaml .Values.topologySpreadConstraints }}
{{- else if include "m365-defender-exporter.severalReplicas" . -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  # A cluster of one node is no reason to run nothing.
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "m365-defender-exporter.selectorLabels" . | nindent 6 }}
  {{- if semverCompare ">=1.27-0" .Capabilities.KubeVersion.Version }}
  # The pods that a rollout replaces do not count.
  matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

{{- define "m365-defender-exporter.probes" -}}
{{- $root := . -}}
{{- $port := include "m365-defender-exporter.probePort" . -}}
{{- range $probe := list "startup" "liveness" "readiness" }}
{{ $probe }}Probe:
  httpGet:
    path: {{ ternary "/-/ready" "/-/healthy" (eq $probe "readiness") }}
    port: {{ $port }}
  {{- with index $root.Values.probes $probe }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "m365-defender-exporter.volumeMounts" -}}
{{- if include "m365-defender-exporter.hasConfig" . }}
- name: config
  mountPath: /etc/m365_defender_exporter
  readOnly: true
{{- end }}
{{- if include "m365-defender-exporter.webConfigEnabled" . }}
- name: web-config
  mountPath: /etc/m365_defender_exporter-web
  readOnly: true
{{- end }}
{{- if include "m365-defender-exporter.stateVolume" . }}
- name: state
  mountPath: /var/lib/m365_defender_exporter
{{- end }}
{{- if (include "m365-defender-exporter.stateFiles" . | fromYaml).files }}
- name: state-access
  mountPath: /etc/m365_defender_exporter-state
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* One volume holds the configuration and the credentials, so that a change of both is seen at once. */}}
{{- define "m365-defender-exporter.volumes" -}}
{{- $t := include "m365-defender-exporter.tenants" . | fromYaml -}}
{{- $full := include "m365-defender-exporter.fullname" . -}}
{{- if include "m365-defender-exporter.hasConfig" . }}
- name: config
  projected:
    defaultMode: 0440
    sources:
      {{- range (include "m365-defender-exporter.configFiles" . | fromYaml).files }}
      - {{ ternary "secret" "configMap" (ne (include "m365-defender-exporter.secretConfig" $) "") }}:
          name: {{ (include "m365-defender-exporter.metadata" (list $ .suffix dict) | fromYaml).name | quote }}
          items:
            - key: {{ .key }}
              path: {{ .key }}
      {{- end }}
      {{- range $t.files }}
      - secret:
          {{- toYaml . | nindent 10 }}
          {{- if gt (len $t.tenants) 1 }}
          optional: true # one tenant's missing Secret must not keep the others from starting
          {{- end }}
      {{- end }}
      {{- if and (hasKey $t.modes "workloadIdentity") (not .Values.workloadIdentity.webhook) }}
      - serviceAccountToken:
          path: credentials/token
          audience: {{ .Values.workloadIdentity.audience | quote }}
          expirationSeconds: 3600
      {{- end }}
{{- end }}
{{- if include "m365-defender-exporter.webConfigEnabled" . }}
- name: web-config
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ default (printf "%s-web" ($full | trunc 59 | trimSuffix "-")) .Values.webConfig.existingSecret | quote }}
      {{- with .Values.webConfig.tlsSecret }}
      - secret:
          name: {{ . | quote }}
          items:
            - key: tls.crt
              path: tls.crt
            - key: tls.key
              path: tls.key
      {{- end }}
{{- end }}
{{- if include "m365-defender-exporter.stateVolume" . }}
- name: state
  {{- with include "m365-defender-exporter.claim" . }}
  persistentVolumeClaim:
    claimName: {{ . | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.persistence.emptyDirSizeLimit }}
  {{- end }}
{{- end }}
{{- with (include "m365-defender-exporter.stateFiles" . | fromYaml).files }}
- name: state-access
  projected:
    defaultMode: 0440
    sources:
      {{- range . }}
      - secret:
          name: {{ .secret | quote }}
          items:
            - key: {{ .key }}
              path: {{ .path }}
      {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
