{{- define "elastichub.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "elastichub.image" -}}
{{ required "image.name is required" .Values.image.name }}:{{ .Values.image.tag | default .Chart.AppVersion }}
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

{{- /* What notebooks and kernels may reach beside their own peers. */ -}}
{{- define "elastichub.egressOutside" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- if .Values.networkPolicy.egress.internet }}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16]
{{- end }}
{{- if .Values.networkPolicy.egress.privateAddresses }}
- to:
    - ipBlock: {cidr: 10.0.0.0/8}
    - ipBlock: {cidr: 172.16.0.0/12}
    - ipBlock: {cidr: 192.168.0.0/16}
{{- end }}
{{- end }}

{{- define "elastichub.config" -}}
log:
  level: {{ .Values.log.level }}
  format: {{ .Values.log.format }}
groups:
  cacheTTL: {{ .Values.groups.cacheTTL }}
  staleLimit: {{ .Values.groups.staleLimit }}
{{- with .Values.groups.ldap }}
{{- if .urls }}
  ldap:
    urls: {{ toJson .urls }}
    startTLS: {{ .startTLS }}
    caFile: {{ .caFile | quote }}
    allowPlaintext: {{ .allowPlaintext }}
    bindDN: {{ .bindDN | quote }}
    {{- if .bindPasswordSecret }}
    bindPasswordFile: /etc/elastichub/ldap/password
    {{- end }}
    {{- range $key := list "userBase" "userAttribute" "userFilter" "memberOfAttribute" "groupBase" "groupFilter" "dialTimeout" "bindTimeout" "searchTimeout" }}
    {{ $key }}: {{ get $.Values.groups.ldap $key | quote }}
    {{- end }}
    groupMemberAttributes: {{ toJson .groupMemberAttributes }}
    poolSize: {{ int .poolSize }}
{{- end }}
{{- end }}
{{- if .Values.groups.file }}
  file: /etc/elastichub/groups.yaml
{{- end }}
policies:
  matching: {{ .Values.policies.matching }}
notebooks:
  image: {{ required "notebooks.image is required" .Values.notebooks.image | quote }}
  pullPolicy: {{ .Values.notebooks.pullPolicy }}
  gateway: {{ .Values.notebooks.gateway }}
kernels:
  serviceImage: {{ include "elastichub.image" . | quote }}
  image: {{ required "kernels.image is required" .Values.kernels.image | quote }}
  pullPolicy: {{ .Values.kernels.pullPolicy }}
  idleTimeoutSeconds: {{ int .Values.kernels.idleTimeoutSeconds }}
  clusterCapacity: {{ .Values.kernels.clusterCapacity }}
{{- end }}
