{{- define "elastichub.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* An image as images/ calls it, where image.registry says where they all are. */ -}}
{{- define "elastichub.pushed" -}}
{{ with .root.Values.image.registry }}{{ . }}/{{ $.name }}{{ end }}
{{- end }}

{{- define "elastichub.image" -}}
{{ required "image.name, or image.registry for all images, is required" (.Values.image.name | default (include "elastichub.pushed" (dict "root" . "name" "service"))) }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* The image of a notebook or a kernel: name, what its section says, and the key. */ -}}
{{- define "elastichub.otherImage" -}}
{{- $pushed := include "elastichub.pushed" . }}
{{- $named := (index .root.Values .section).image }}
{{- if and (not $named) $pushed }}
{{- printf "%s:%s" $pushed (.root.Values.image.tag | default .root.Chart.AppVersion) }}
{{- else }}
{{- required (printf "%s.image, or image.registry for all images, is required" .section) $named }}
{{- end }}
{{- end }}

{{- /* Whether there is a source of groups. Without one nobody gets anything from a Hub. */ -}}
{{- define "elastichub.hasGroups" -}}
{{- with .Values.groups }}
{{- if or .ldap.urls .oidc.issuer .hub.sent .hub.apiURL .file }}true{{ end }}
{{- end }}
{{- end }}

{{- /* Whether a JupyterHub may call: it has a token, made or named. */ -}}
{{- define "elastichub.hasHub" -}}
{{- if or .Values.hub.existingSecret (include "elastichub.hasGroups" .) }}true{{ end }}
{{- end }}

{{- /* The namespaces that are looked after and known by name, the release's own first, as JSON. */ -}}
{{- define "elastichub.namespaces" -}}
{{- $all := list .Release.Namespace }}
{{- if kindIs "slice" .Values.watchNamespaces }}
{{- range .Values.watchNamespaces }}{{ if ne . $.Release.Namespace }}{{ $all = append $all . }}{{ end }}{{ end }}
{{- end }}
{{- toJson $all }}
{{- end }}

{{- /* In which namespaces Pods of a release may talk to each other; nothing: in one. */ -}}
{{- define "elastichub.amongNamespaces" -}}
{{- $all := include "elastichub.namespaces" . | fromJsonArray }}
{{- if eq (toString .Values.watchNamespaces) "all" -}}
namespaceSelector: {}
{{- else if gt (len $all) 1 -}}
namespaceSelector:
  matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: {{ toJson $all }}}]
{{- end }}
{{- end }}

{{- /* The rules that the service needs where kinds are looked after. secrets are the verbs on those. */ -}}
{{- define "elastichub.rules" -}}
- apiGroups: [kubeflow.tkestack.io]
  resources: [jupyternotebooks, jupyterkernels]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [kubeflow.tkestack.io]
  resources: [jupytergateways, jupyterkernelspecs, jupyterkerneltemplates, grouppolicies]
  verbs: [get, list, watch]
- apiGroups: [kubeflow.tkestack.io]
  resources: [jupyternotebooks/status, jupyterkernels/status, jupytergateways/status, jupyterkernelspecs/status, jupyterkerneltemplates/status, grouppolicies/status]
  verbs: [get, update, patch]
- apiGroups: [kubeflow.tkestack.io]
  resources: [jupyternotebooks/finalizers, jupyterkernels/finalizers, jupytergateways/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods, services, persistentvolumeclaims, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: {{ toJson .secrets }}
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch, delete]
# For the Roles of each gateway, which hold no rule that this one lacks.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, update, patch, delete]
# Leader election, and whose the namespace is.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update, patch]
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

{{- define "elastichub.crdsLabels" -}}
app.kubernetes.io/name: elastichub
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: crds
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "elastichub.secretsLabels" -}}
app.kubernetes.io/name: elastichub
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: secrets
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* Beside the value of a Secret, while it is rotated: Secret, key, directory. */ -}}
{{- define "elastichub.rotated" -}}
- secret:
    name: {{ .secret }}
    items: [{key: {{ .key }}, path: {{ .dir }}/{{ .key }}}]
- secret:
    name: {{ .secret }}
    items:
      - {key: next, path: {{ .dir }}/next}
      - {key: former, path: {{ .dir }}/former}
      - {key: former-until, path: {{ .dir }}/former-until}
      - {key: mark, path: {{ .dir }}/mark}
    optional: true
{{- end }}

{{- /* What is made before the release and removed when it has done its work. */ -}}
{{- define "elastichub.crdsHook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "elastichub.uninstallLabels" -}}
app.kubernetes.io/name: elastichub
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: uninstall
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* What is made before the release is removed, and goes with its work. */ -}}
{{- define "elastichub.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}

{{- /* What parking kernels takes where they are. */ -}}
{{- define "elastichub.uninstallRules" -}}
- apiGroups: [kubeflow.tkestack.io]
  resources: [jupyterkernels]
  verbs: [list, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, delete]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [elastichub-owner]
  verbs: [get]
{{- end }}

{{- define "elastichub.hubSecret" -}}
{{ .Values.hub.existingSecret | default (printf "%s-hub-token" (include "elastichub.name" .)) }}
{{- end }}

{{- define "elastichub.signingSecret" -}}
{{ .Values.signing.existingSecret | default (printf "%s-signing" (include "elastichub.name" .)) }}
{{- end }}

{{- define "elastichub.keepSecret" -}}
{{ .Values.kernels.keep.existingSecret | default (printf "%s-keep" (include "elastichub.name" .)) }}
{{- end }}

{{- define "elastichub.portalSecret" -}}
{{ .Values.portal.existingSecret | default (printf "%s-portal" (include "elastichub.name" .)) }}
{{- end }}

{{- define "elastichub.notebookMetricsSecret" -}}
{{ .Values.metrics.notebooks.existingSecret | default (printf "%s-notebook-metrics" (include "elastichub.name" .)) }}
{{- end }}

{{- /* Whether notebook servers show their metrics: "true", or nothing. */ -}}
{{- define "elastichub.notebookMetrics" -}}
{{- if or .Values.metrics.notebooks.enabled .Values.notebookMonitor.enabled }}true{{ end }}
{{- end }}

{{- /* What notebooks and kernels may reach beside their own peers. */ -}}
{{- define "elastichub.egressOutside" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- $more := .Values.networkPolicy.egress.private }}
{{- $private := dict
    "0.0.0.0/0" (list "10.0.0.0/8" "172.16.0.0/12" "192.168.0.0/16")
    "::/0" (list "fc00::/7") }}
{{- /* Addresses of a link, and private ones of IPv4 behind a NAT64. */}}
{{- $never := dict
    "0.0.0.0/0" (list "169.254.0.0/16")
    "::/0" (list "fe80::/10" "64:ff9b::a00:0/104" "64:ff9b::ac10:0/108" "64:ff9b::c0a8:0/112" "64:ff9b::a9fe:0/112" "64:ff9b:1::/48") }}
{{- range $block := $more }}
{{- $all := ternary "::/0" "0.0.0.0/0" (contains ":" $block) }}
{{- $_ := set $private $all (append (get $private $all) $block) }}
{{- end }}
{{- if .Values.networkPolicy.egress.internet }}
- to:
  {{- range $all := list "0.0.0.0/0" "::/0" }}
    - ipBlock:
        cidr: {{ $all | quote }}
        except: {{ toJson (concat (get $private $all) (get $never $all)) }}
  {{- end }}
{{- end }}
{{- if .Values.networkPolicy.egress.privateAddresses }}
- to:
  {{- range $block := concat (get $private "0.0.0.0/0") (get $private "::/0") }}
    - ipBlock: {cidr: {{ $block | quote }}}
  {{- end }}
{{- end }}
{{- with .Values.networkPolicy.egress.rules }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The service's own proxy, in both spellings. It is not asked for what is in the cluster: the API server,
Services, and what the values say of the Hub, of Prometheus and of traces. */ -}}
{{- define "elastichub.proxyEnv" -}}
{{- $values := .Values }}
{{- with .Values.proxy }}
{{- if or .http .https }}
{{- $direct := concat (list "localhost" "127.0.0.1" "::1" ".svc" ".cluster.local" "$(KUBERNETES_SERVICE_HOST)") .noProxy }}
{{- range $address := list $values.hub.apiURL $values.groups.hub.apiURL $values.prometheus.url $values.tracing.endpoint }}
{{- with $address }}{{ $direct = append $direct (regexReplaceAll ":[0-9]+$" (urlParse .).host "" | trimPrefix "[" | trimSuffix "]") }}{{ end }}
{{- end }}
{{- range $name, $value := dict "HTTP_PROXY" .http "HTTPS_PROXY" .https "NO_PROXY" (uniq $direct | join ",") }}
{{- if $value }}
- {name: {{ $name }}, value: {{ $value | quote }}}
- {name: {{ lower $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What Prometheus has to show. */ -}}
{{- define "elastichub.metricsToken" -}}
{{- with .Values.metrics.tokenSecret }}
authorization:
  credentials: {name: {{ . }}, key: token}
{{- end }}
{{- end }}

{{- define "elastichub.metricsFrom" -}}
{{- with .Values.networkPolicy.metricsFrom }}
- from: {{- toYaml . | nindent 4 }}
  ports: [{port: 9090}]
{{- end }}
{{- end }}

{{- define "elastichub.config" -}}
{{- if not (include "elastichub.hasHub" .) }}
hubAPI:
  tokenFile: ""
{{- end }}
log:
  level: {{ .Values.log.level }}
  format: {{ .Values.log.format }}
{{- with .Values.tracing.endpoint }}
tracing:
  endpoint: {{ toJson . }}
  samplePercent: {{ toJson $.Values.tracing.samplePercent }}
{{- end }}
{{- if eq (toString .Values.watchNamespaces) "all" }}
watchNamespaces: ["*"]
{{- else if kindIs "slice" .Values.watchNamespaces }}
watchNamespaces: {{ toJson .Values.watchNamespaces }}
{{- end }}
{{- with .Values.metrics.tokenSecret }}
metrics:
  tokenFile: /etc/elastichub/metrics/token
  tokenSecret: {{ . | quote }}
{{- end }}
{{- with .Values.prometheus }}
{{- if or .url .required .tokenSecret .keepWhile }}
prometheus:
  url: {{ .url | quote }}
  required: {{ .required }}
  {{- if .tokenSecret }}
  tokenFile: /etc/elastichub/prometheus/token
  {{- end }}
  caFile: {{ .caFile | quote }}
  timeout: {{ .timeout }}
  window: {{ .window }}
  keepWhile: {{ .keepWhile | quote }}
  {{- with .matchLabels }}
  matchLabels:
  {{- range $name, $value := . }}
    - {name: {{ $name | quote }}, value: {{ $value | quote }}}
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .Values.groups }}
groups:
  cacheTTL: {{ .cacheTTL }}
  staleLimit: {{ .staleLimit }}
  sources: {{ toJson .sources }}
  combine: {{ .combine }}
{{- with .ldap }}
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
    {{- $ldap := . }}
    {{- range $key := list "userBase" "userAttribute" "userFilter" "memberOfAttribute" "groupBase" "groupFilter" "nestedGroups" "referrals" "dialTimeout" "bindTimeout" "searchTimeout" }}
    {{ $key }}: {{ get $ldap $key | quote }}
    {{- end }}
    groupMemberAttributes: {{ toJson .groupMemberAttributes }}
    nestingDepth: {{ int .nestingDepth }}
    poolSize: {{ int .poolSize }}
    limits: {{ toJson .limits }}
{{- end }}
{{- end }}
{{- with .oidc }}
{{- if .issuer }}
  oidc:
    allowPlaintext: {{ .allowPlaintext }}
    {{- $oidc := . }}
    {{- range $key := list "issuer" "caFile" "from" "audience" "usernameClaim" "groupPrefix" "leeway" "timeout" }}
    {{ $key }}: {{ get $oidc $key | quote }}
    {{- end }}
    groupsClaims: {{ toJson .groupsClaims }}
    algorithms: {{ toJson .algorithms }}
    limits: {{ toJson .limits }}
{{- end }}
{{- end }}
{{- with .hub }}
{{- if or .sent .apiURL }}
  hub:
    sent: {{ .sent }}
    apiURL: {{ .apiURL | quote }}
    {{- if .apiURL }}
    tokenFile: /etc/elastichub/groups-hub/token
    {{- if .certSecret }}
    certFile: /etc/elastichub/groups-hub/tls.crt
    keyFile: /etc/elastichub/groups-hub/tls.key
    {{- end }}
    {{- end }}
    caFile: {{ .caFile | quote }}
    timeout: {{ .timeout }}
    limits: {{ toJson .limits }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.groups.file }}
  file: /etc/elastichub/groups.yaml
{{- end }}
{{- with .Values.hub }}
{{- if .apiURL }}
hub:
  apiURL: {{ .apiURL | quote }}
  tokenFile: /etc/elastichub/hub-api/token
  {{- if .certSecret }}
  certFile: /etc/elastichub/hub-api/tls.crt
  keyFile: /etc/elastichub/hub-api/tls.key
  {{- end }}
  caFile: {{ .caFile | quote }}
{{- end }}
{{- end }}
orphans:
  mode: {{ .Values.orphans.mode | quote }}
  grace: {{ int64 .Values.orphans.graceSeconds }}s
homes:
  left:
    mode: {{ .Values.homes.left.mode | quote }}
    grace: {{ mul (int64 .Values.homes.left.graceDays) 24 }}h
    mostPercent: {{ int .Values.homes.left.mostPercent }}
    archive:
      claim: {{ .Values.homes.left.archive.claim | quote }}
{{- if .Values.portal.enabled }}
{{- with .Values.portal }}
portal:
  enabled: true
  basePath: {{ .basePath | quote }}
  publicURL: {{ .publicURL | quote }}
  provider: {{ .provider }}
  admins: {{ toJson .admins }}
  policies: {{ toJson .policies }}
  kubernetesTokens: {{ .kubernetesTokens }}
  {{- with .prices }}
  prices: {{ toJson . }}
  {{- end }}
  currency: {{ .currency | quote }}
  hub: {publicURL: {{ $.Values.hub.publicURL | quote }}, clientID: {{ .hub.clientID | quote }}}
  {{- if eq .provider "oidc" }}
  oidc:
    {{- $oidc := .oidc }}
    {{- range $key := list "issuer" "clientID" "usernameClaim" "caFile" "timeout" }}
    {{ $key }}: {{ get $oidc $key | quote }}
    {{- end }}
    secretFile: /etc/elastichub/portal-oidc/secret
    scopes: {{ toJson .oidc.scopes }}
    algorithms: {{ toJson .oidc.algorithms }}
    allowPlaintext: {{ .oidc.allowPlaintext }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .Values.proxy }}
{{- if or .http .https .noProxy }}
proxy: {http: {{ .http | quote }}, https: {{ .https | quote }}, noProxy: {{ toJson .noProxy }}}
{{- end }}
{{- end }}
usage:
  configMaps: {{ include "elastichub.name" . }}-usage
policies:
  matching: {{ .Values.policies.matching }}
notebooks:
  image: {{ include "elastichub.otherImage" (dict "root" . "section" "notebooks" "name" "notebook") | quote }}
  pullPolicy: {{ .Values.notebooks.pullPolicy | quote }}
  imageMap: {{ .Values.notebooks.imageMap | toJson }}
  {{- /* Quoted: nothing at all would become the service's default. */}}
  gateway: {{ .Values.notebooks.gateway | default "" | quote }}
  adoptHomesBefore: {{ .Values.notebooks.adoptHomesBefore | quote }}
  {{- if include "elastichub.notebookMetrics" . }}
  metricsSecret: {{ include "elastichub.notebookMetricsSecret" . | quote }}
  {{- end }}
kernels:
  serviceImage: {{ include "elastichub.image" . | quote }}
  image: {{ include "elastichub.otherImage" (dict "root" . "section" "kernels" "name" "kernel") | quote }}
  pullPolicy: {{ .Values.kernels.pullPolicy | quote }}
  imageMap: {{ .Values.kernels.imageMap | toJson }}
  idleTimeoutSeconds: {{ int .Values.kernels.idleTimeoutSeconds }}
  maxRunSeconds: {{ int .Values.kernels.maxRunSeconds }}
  busyCPU: {{ .Values.kernels.busyCPU }}
  busyGPU: {{ .Values.kernels.busyGPU }}
  doNotDisrupt: {{ .Values.kernels.doNotDisrupt }}
  hubEnvironment: {{ .Values.kernels.hubEnvironment | toJson }}
  clusterCapacity: {{ .Values.kernels.clusterCapacity }}
{{- with .Values.kernels.nodePools }}
  nodePools:
{{- range . }}
    - name: {{ .name | quote }}
      maxNodes: {{ int .maxNodes }}
      labels:
{{- range $key, $value := .labels }}
        - {key: {{ $key | quote }}, value: {{ $value | quote }}}
{{- end }}
      resources:
{{- range $name, $count := .resources }}
        - {name: {{ $name | quote }}, count: {{ int $count }}}
{{- end }}
{{- with .taints }}
      taints: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}
  keep:
    enabled: {{ .Values.kernels.keep.enabled }}
    idleSeconds: {{ int .Values.kernels.keep.idleSeconds }}
    maxBytes: {{ .Values.kernels.keep.maxBytes | quote }}
    ttl: {{ .Values.kernels.keep.ttl }}
    seedFile: /etc/elastichub/keep/seed
prepull:
  name: {{ include "elastichub.name" . | quote }}
  enabled: {{ .Values.prepull.enabled }}
  kernels: {{ .Values.prepull.kernels }}
  nodesAtOnce: {{ int .Values.prepull.nodesAtOnce }}
  priorityClassName: {{ .Values.prepull.priorityClassName | quote }}
  {{- with .Values.imagePullSecrets }}
  pullSecrets:
  {{- range . }}
    - {{ .name | quote }}
  {{- end }}
  {{- end }}
{{- end }}
