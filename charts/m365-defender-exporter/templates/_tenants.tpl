{{/*
What the values say about tenants, as YAML:
  tenants    the list for the configuration file
  files      what is mounted for them: {tenant, name (of the Secret), items}
  secret     what the chart's own Secret holds
  modes      the credential types in use
  identities the client ids of workload identities
Paths of credentials are relative to the configuration file, which lies in the same volume.
*/}}
{{- define "m365-defender-exporter.tenants" -}}
{{- $tenants := list }}{{ $files := list }}{{ $secret := dict }}{{ $modes := dict }}{{ $identities := list }}{{ $names := dict -}}
{{- $list := deepCopy .Values.tenants -}}
{{- with .Values.tenant }}
{{- if .tenantId }}
{{- $one := dict "tenant_id" .tenantId }}
{{- range $to, $value := dict "name" .name "api" .api "cloud" .cloud }}
{{- if $value }}{{ $_ := set $one $to $value }}{{ end }}
{{- end }}
{{- if .clientId }}{{ $_ := set $one "auth" (dict "client_id" .clientId) }}{{ end }}
{{- $list = list $one }}
{{- end }}
{{- end }}
{{- $own := include "m365-defender-exporter.fullname" . }}
{{- range $tenant := $list }}
{{- $name := default $tenant.tenant_id $tenant.name }}
{{- if hasKey $names $name }}{{ fail (printf "tenants: two of them are named %s; the name is the label tenant and must be unique" $name) }}{{ end }}
{{- $_ := set $names $name true }}
{{- $c := mergeOverwrite (deepCopy $.Values.credentials) (default (dict) $tenant.credentials) }}
{{- /* A tenant's own existingSecret takes the place of what is written in the values for all, and the other way round. */}}
{{- with $tenant.credentials }}
{{- if .existingSecret }}{{ $_ := set $c "clientSecret" (default "" .clientSecret) }}{{ $_ := set $c "certificate" (default "" .certificate) }}{{ end }}
{{- if or .clientSecret .certificate }}{{ $_ := set $c "existingSecret" (default "" .existingSecret) }}{{ end }}
{{- end }}
{{- $auth := default (dict) $tenant.auth }}
{{- $clientId := default (dig "auth" "client_id" "" $.Values.defaults) $auth.client_id }}
{{- include "m365-defender-exporter.checkCredentials" (dict "name" $name "credentials" $c "auth" (merge (dict) $auth (dig "auth" (dict) $.Values.defaults)) "clientId" $clientId) }}
{{- $_ := set $modes $c.type true }}
{{- $dir := printf "credentials/%s" $name }}
{{- if eq $c.type "secret" }}
{{- $_ := set $auth "client_secret_file" (printf "%s/client-secret" $dir) }}
{{- $key := $c.clientSecretKey }}
{{- if $c.clientSecret }}
{{- $key = printf "%s.client-secret" $name }}
{{- $_ := set $secret $key $c.clientSecret }}
{{- end }}
{{- $files = append $files (dict "name" (default $own $c.existingSecret) "items" (list (dict "key" $key "path" $auth.client_secret_file))) }}
{{- else if eq $c.type "certificate" }}
{{- $_ := set $auth "client_certificate_file" (printf "%s/certificate" $dir) }}
{{- $key := $c.certificateKey }}
{{- if $c.certificate }}
{{- $key = printf "%s.certificate" $name }}
{{- $_ := set $secret $key $c.certificate }}
{{- end }}
{{- $items := list (dict "key" $key "path" $auth.client_certificate_file) }}
{{- if $c.certificatePasswordKey }}
{{- $_ := set $auth "client_certificate_password_file" (printf "%s/certificate-password" $dir) }}
{{- $items = append $items (dict "key" $c.certificatePasswordKey "path" $auth.client_certificate_password_file) }}
{{- end }}
{{- $files = append $files (dict "name" (default $own $c.existingSecret) "items" $items) }}
{{- else if eq $c.type "workloadIdentity" }}
{{- $_ := set $auth "federated_token_file" (ternary $.Values.workloadIdentity.tokenFile "credentials/token" $.Values.workloadIdentity.webhook) }}
{{- $identities = append $identities $clientId | uniq }}
{{- else if eq $c.type "managedIdentity" }}
{{- $_ := set $auth "managed_identity" true }}
{{- end }}
{{- if $auth }}{{ $_ := set $tenant "auth" $auth }}{{ end }}
{{- with $tenant.quota }}{{ if .share }}{{ $_ := set . "share" (float64 .share) }}{{ end }}{{ end }}
{{- $tenants = append $tenants (omit $tenant "credentials") }}
{{- end }}
{{- toYaml (dict "tenants" $tenants "files" $files "secret" $secret "modes" $modes "identities" $identities) }}
{{- end }}

{{/* Refuses credentials that cannot work: name, credentials, auth, clientId. */}}
{{- define "m365-defender-exporter.checkCredentials" -}}
{{- $c := .credentials -}}
{{- $who := printf "tenant %s: credentials.type is %s" .name $c.type -}}
{{- range $field := list "client_secret_file" "client_certificate_file" "client_certificate_password_file" "federated_token_file" "managed_identity" }}
{{- if and (ne $c.type "none") (hasKey $.auth $field) }}{{ fail (printf "%s, so auth.%s is written by the chart; set credentials.type to none to write it yourself" $who $field) }}{{ end }}
{{- end }}
{{- if and (has $c.type (list "secret" "certificate" "workloadIdentity")) (not .clientId) }}
{{- fail (printf "%s, but it has no client id; set tenant.clientId, or auth.client_id in tenants or defaults" $who) }}
{{- end }}
{{- range $type, $field := dict "secret" "clientSecret" "certificate" "certificate" }}
{{- if eq $c.type $type }}
{{- if and $c.existingSecret (index $c $field) }}{{ fail (printf "%s, and both existingSecret and %s are given; one is enough" $who $field) }}{{ end }}
{{- if not (or $c.existingSecret (index $c $field)) }}{{ fail (printf "%s, but neither credentials.existingSecret nor credentials.%s is given" $who $field) }}{{ end }}
{{- end }}
{{- end }}
{{- if and (eq $c.type "certificate") $c.certificate $c.certificatePasswordKey }}
{{- fail (printf "%s, and certificatePasswordKey is a key of existingSecret, which is not given; a certificate in the values is PEM without a password" $who) }}
{{- end }}
{{- end }}

{{/*
The exporter's configuration files, as YAML: a list of {suffix, key, config}. A ConfigMap holds 1 MiB, so a thousand tenants
fit into each, whatever their settings.
*/}}
{{- define "m365-defender-exporter.configFiles" -}}
{{- $t := include "m365-defender-exporter.tenants" . | fromYaml -}}
{{- $files := list -}}
{{- range $i, $tenants := chunk 1000 $t.tenants -}}
{{- $config := dict "tenants" $tenants -}}
{{- with deepCopy $.Values.defaults }}
{{- /* --set makes a text of a number with a point. */}}
{{- with .quota }}{{ if .share }}{{ $_ := set . "share" (float64 .share) }}{{ end }}{{ end }}
{{- $_ := set $config "defaults" . }}
{{- end -}}
{{- $suffix := ternary (printf "config-%d" (add1 $i)) "" (gt $i 0) -}}
{{- $key := printf "%s.yaml" (default "config" $suffix) -}}
{{- /* The Secret of the full name has the credentials. */}}
{{- if include "m365-defender-exporter.secretConfig" $ }}{{ $suffix = default "config" $suffix }}{{ end -}}
{{- $files = append $files (dict "suffix" $suffix "key" $key "config" $config) -}}
{{- end -}}
{{- toYaml (dict "files" $files) }}
{{- end }}

{{/* Whether the configuration has a password of a proxy: then it is no ConfigMap, but a Secret. */}}
{{- define "m365-defender-exporter.secretConfig" -}}
{{- range prepend .Values.tenants .Values.defaults }}
{{- if or (dig "http" "proxy_connect_header" "" .) (regexMatch "^[a-z0-9]+://[^/]*@" (dig "http" "proxy_url" "" .)) }}true{{ end }}
{{- end }}
{{- end }}

{{/* Whether there is a configuration file at all; without tenants the exporter reads its environment. */}}
{{- define "m365-defender-exporter.hasConfig" -}}
{{- if or .Values.tenants .Values.tenant.tenantId }}true{{ end }}
{{- end }}

{{- define "m365-defender-exporter.workloadIdentityClient" -}}
{{- $t := include "m365-defender-exporter.tenants" . | fromYaml -}}
{{- if .Values.workloadIdentity.clientId }}{{ .Values.workloadIdentity.clientId }}
{{- else if eq (len $t.identities) 1 }}{{ first $t.identities }}{{ end }}
{{- end }}
