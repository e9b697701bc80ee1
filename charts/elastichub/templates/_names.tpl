{{- define "elastichub.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "elastichub.image" -}}
{{ .Values.image.name }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "elastichub.selector" -}}
app.kubernetes.io/name: elastichub
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: service
{{- end }}

{{- define "elastichub.labels" -}}
{{ include "elastichub.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "elastichub.hubSecret" -}}
{{ .Values.hub.existingSecret | default (printf "%s-hub-token" (include "elastichub.name" .)) }}
{{- end }}

{{- define "elastichub.signingSecret" -}}
{{ .Values.signing.existingSecret | default (printf "%s-signing" (include "elastichub.name" .)) }}
{{- end }}
