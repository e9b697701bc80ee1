{{- define "demo.baseDN" -}}
dc=example,dc=org
{{- end }}

{{- /* Of cn=elastichub,ou=services, which may search and nothing else. */ -}}
{{- define "demo.bindPassword" -}}
search-{{ .Values.password }}
{{- end }}

{{- /* An image that is named, or is in the registry, or was built here; the argument is a list of the root and its name. */ -}}
{{- define "demo.image" -}}
{{- $root := index . 0 }}
{{- $name := index . 1 }}
{{- if get $root.Values.images $name }}
{{- get $root.Values.images $name }}
{{- else if $root.Values.image.registry }}
{{- printf "%s/%s:%s" $root.Values.image.registry $name ($root.Values.image.tag | default $root.Chart.AppVersion) }}
{{- else }}
{{- printf "localhost/elastichub/%s:dev" $name }}
{{- end }}
{{- end }}

{{- /* Labels of an object; the argument is a list of the root and the component. */ -}}
{{- define "demo.labels" -}}
{{ include "demo.selector" . }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{- /* The Hub and its proxy carry the name by which the elastichub chart's
NetworkPolicies let them in. */ -}}
{{- define "demo.selector" -}}
app.kubernetes.io/name: {{ if eq (index . 1) "directory" }}openldap{{ else }}jupyterhub{{ end }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* The port of nodes, where Services have one; the argument is a list of the root and the port. */ -}}
{{- define "demo.nodePort" -}}
{{- if eq (index . 0).Values.serviceType "NodePort" }}, nodePort: {{ index . 1 }}{{ end -}}
{{- end }}

{{- define "demo.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "demo.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* The value of a Secret's key, or, the first time, the given one. The
argument is a list of the root, the Secret, the key and the value. */ -}}
{{- define "demo.kept" -}}
{{- $secret := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) -}}
{{- dig "data" (index . 2) (index . 3 | b64enc) $secret -}}
{{- end }}
