{{/* The name of the resource; the rule is that of the CustomResourceDefinition. */}}
{{- define "wsc-cluster.name" -}}
{{- $name := default .Release.Name .Values.name -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$" $name) -}}
{{- fail (printf "%q cannot be the name of a WscCluster: at most 40 characters, a lower-case letter first, then letters, digits and '-', not '-' last; set name" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}
