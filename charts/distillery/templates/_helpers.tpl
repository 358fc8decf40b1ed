{{- define "distillery.name" -}}
{{- if contains "distillery" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-distillery" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "distillery.selector" -}}
app.kubernetes.io/name: distillery
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "distillery.labels" -}}
{{ include "distillery.selector" . }}
app.kubernetes.io/part-of: distillery
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "distillery.image" -}}
{{- with .Values.image -}}
{{- $repository := required "image.repository is not set: build the images as docs/install.md says, then add --set image.repository=REGISTRY/distillery-operator" .repository -}}
{{- if .digest }}{{ $repository }}@{{ .digest }}{{ else }}{{ $repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- define "distillery.workerImage" -}}
{{- required "workerImage is not set: build the images as docs/install.md says, then add --set workerImage=REGISTRY/distillery-worker:TAG" .Values.workerImage -}}
{{- end }}

{{/* Subject of every binding. */}}
{{- define "distillery.subjects" -}}
- kind: ServiceAccount
  name: {{ include "distillery.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Ports of a NetworkPolicy rule from a list of TCP port numbers. */}}
{{- define "distillery.tcp" -}}
{{- range . }}
- {protocol: TCP, port: {{ . }}}
{{- end }}
{{- end }}

{{- define "distillery.dns" -}}
{{- range . }}
- {protocol: UDP, port: {{ . }}}
- {protocol: TCP, port: {{ . }}}
{{- end }}
{{- end }}
