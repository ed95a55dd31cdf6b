{{/*
Helm takes null for "remove this": a section or a value that is left empty is not there any more. Where there must be a value, it is the
chart's own; the two security contexts and the resources may be empty. Every template begins with this.
*/}}
{{- define "m365-defender-exporter.defaults" -}}
{{- $values := .Values -}}
{{- range $key, $default := .Files.Get "files/defaults/values.yaml" | fromYaml -}}
{{- if has $key (list "podSecurityContext" "securityContext" "resources") -}}
{{- if kindIs "invalid" (get $values $key) }}{{ $_ := set $values $key dict }}{{ end -}}
{{- else if or (not (hasKey $values $key)) (kindIs "invalid" (get $values $key)) -}}
{{- $_ := set $values $key $default -}}
{{- else if kindIs "map" $default -}}
{{- $section := get $values $key -}}
{{- range $field, $default := $default -}}
{{- if or (not (hasKey $section $field)) (kindIs "invalid" (get $section $field)) }}{{ $_ := set $section $field $default }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
