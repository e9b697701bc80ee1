package gateways

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/skew"
)

const (
	gatewayKeyDir     = "/etc/elastichub/gateway"
	gatewayTokensDir  = "/etc/elastichub/tokens"
	gatewayClientsDir = "/etc/elastichub/clients"
	gatewayMetricsDir = "/etc/elastichub/metrics"
	publicKeyName     = "public-key"  // that of the key that signs; gateways of former releases know no other
	tokenMarkName     = "mark"        // as package rotation has it
	publicKeysName    = "public-keys" // all that count, a line each
	metricsTokenKey   = "token"
	metricsPort       = 9090
)

// gatewayLabels select the Pods of one gateway. The key is our own, so that
// no label of a user's can collide.
func gatewayLabels(gw *v1alpha1.JupyterGateway) map[string]string {
	return map[string]string{v1alpha1.LabelGateway: podrules.ObjectLabel(gw.Name), v1alpha1.LabelComponent: v1alpha1.ComponentGateway}
}

func gatewayMeta(gw *v1alpha1.JupyterGateway, name string) metav1.ObjectMeta {
	labels := gatewayLabels(gw)
	labels[v1alpha1.LabelManagedBy] = v1alpha1.ManagedBy
	labels[v1alpha1.LabelName] = v1alpha1.ManagedBy
	return metav1.ObjectMeta{
		Name: name, Namespace: gw.Namespace, Labels: labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(gw, v1alpha1.GroupVersion.WithKind("JupyterGateway"))},
	}
}

// isEnterpriseGateway recognises the images of Enterprise Gateway by the last
// part of their repository.
func isEnterpriseGateway(image string) bool {
	name, _, _ := strings.Cut(path.Base(image), "@")
	name, _, _ = strings.Cut(name, ":")
	return strings.Contains(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "enterprise-gateway")
}

// gatewayImage is the image to run, and whether another one was asked for.
func gatewayImage(cfg Config, gw *v1alpha1.JupyterGateway) (image string, replaced bool) {
	switch {
	case gw.Spec.Image == "":
		return cfg.Pods.Image, false
	case isEnterpriseGateway(gw.Spec.Image):
		return cfg.Pods.Image, true
	default:
		return gw.Spec.Image, false
	}
}

// gatewayLogLevels maps the names of elastic-jupyter-operator to slog's.
var gatewayLogLevels = map[v1alpha1.LogLevel]string{"DEBUG": "debug", "INFO": "info", "WARNING": "warn"}

// gatewayDeployment runs Pods that selector selects; key names the Secret with its key, and
// served are the namespaces that it serves beside its own.
func gatewayDeployment(cfg Config, gw *v1alpha1.JupyterGateway, selector map[string]string, key string, served []string) *appsv1.Deployment {
	image, _ := gatewayImage(cfg, gw)
	level := gatewayLogLevels[ptr.Deref(gw.Spec.LogLevel, "INFO")]
	if level == "" {
		level = "info"
	}
	env := []corev1.EnvVar{
		{Name: "ELASTICHUB_GATEWAY_NAME", Value: gw.Name},
		{Name: "ELASTICHUB_GATEWAY_NAMESPACE", Value: gw.Namespace},
		{Name: "ELASTICHUB_GATEWAY_KEY_FILE", Value: gatewayKeyDir + "/" + podspec.KeyName},
		{Name: "ELASTICHUB_GATEWAY_TOKEN_PUBLIC_KEY_FILE", Value: gatewayTokensDir + "/" + publicKeyName},
		{Name: "ELASTICHUB_GATEWAY_CLIENTS_DIR", Value: gatewayClientsDir},
		{Name: "ELASTICHUB_GATEWAY_LISTEN", Value: fmt.Sprintf(":%d", v1alpha1.GatewayPort)},
		{Name: "ELASTICHUB_GATEWAY_METRICS_LISTEN", Value: fmt.Sprintf(":%d", metricsPort)},
		{Name: "ELASTICHUB_LOG_LEVEL", Value: level},
		{Name: "ELASTICHUB_GATEWAY_SERVICE_VERSION", Value: skew.Release()},
	}
	if at := cfg.Tracing; at.Endpoint != "" {
		env = append(env,
			corev1.EnvVar{Name: "ELASTICHUB_TRACING_ENDPOINT", Value: at.Endpoint},
			corev1.EnvVar{Name: "ELASTICHUB_TRACING_SAMPLE_PERCENT", Value: strconv.FormatFloat(at.SamplePercent, 'g', -1, 64)})
	}
	if own := cfg.Scope.Own(); own != gw.Namespace {
		env = append(env, corev1.EnvVar{Name: "ELASTICHUB_GATEWAY_POLICY_NAMESPACE", Value: own})
	}
	if len(served) > 0 {
		env = append(env, corev1.EnvVar{Name: "ELASTICHUB_GATEWAY_ALSO_SERVES", Value: strings.Join(served, ",")})
	}
	if limit, ok := gatewayResources(gw).Limits[corev1.ResourceMemory]; ok {
		// The gateway sizes its buffers by it, and collects garbage before it is killed.
		env = append(env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: strconv.FormatInt(limit.Value()/10*9, 10)})
	}
	probe := func(at string, period, failures int32) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: at, Port: intstr.FromString("metrics")}},
			PeriodSeconds: period, TimeoutSeconds: 2, FailureThreshold: failures,
		}
	}
	pod := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: gatewayMeta(gw, "").Labels},
		Spec: corev1.PodSpec{
			ServiceAccountName:            gatewayAccount(gw),
			EnableServiceLinks:            ptr.To(false), // a Service named elastichub would make variables that look like settings
			TerminationGracePeriodSeconds: ptr.To[int64](30),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), RunAsGroup: ptr.To[int64](65532), FSGroup: ptr.To[int64](65532),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "gateway", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"/elastichub"}, Args: []string{"gateway"},
				Env: env,
				Ports: []corev1.ContainerPort{
					{Name: "http", ContainerPort: v1alpha1.GatewayPort, Protocol: corev1.ProtocolTCP},
					{Name: "metrics", ContainerPort: metricsPort, Protocol: corev1.ProtocolTCP},
				},
				ReadinessProbe: probe("/readyz", 2, 2),
				LivenessProbe:  probe("/healthz", 10, 6),
				Resources:      gatewayResources(gw),
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true), RunAsNonRoot: ptr.To(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "key", MountPath: gatewayKeyDir, ReadOnly: true},
					{Name: "tokens", MountPath: gatewayTokensDir, ReadOnly: true},
					{Name: "clients", MountPath: gatewayClientsDir, ReadOnly: true},
				},
			}},
			Volumes: []corev1.Volume{
				{Name: "key", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: key, DefaultMode: ptr.To[int32](0o440)}}},
				{Name: "tokens", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: gatewayAccount(gw)}}}},
				{Name: "clients", VolumeSource: clientTokens(gw)},
			},
		},
	}
	for _, name := range cfg.PullSecrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	if cfg.MetricsToken != "" {
		closeMetrics(&pod.Spec, cfg.MetricsToken)
	}
	pod.Annotations = map[string]string{}
	maps.Copy(pod.Labels, selector)
	return &appsv1.Deployment{
		ObjectMeta: gatewayMeta(gw, gw.Name),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(ptr.Deref(gw.Spec.Replicas, 1)),
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: pod,
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr.To(intstr.FromInt32(0)), MaxSurge: ptr.To(intstr.FromInt32(1))},
			},
			RevisionHistoryLimit: ptr.To[int32](3),
		},
	}
}

// closeMetrics has the gateway ask for the token in a Secret. While there is none,
// it serves kernels and nobody reads its metrics.
func closeMetrics(pod *corev1.PodSpec, secret string) {
	gateway := &pod.Containers[0]
	gateway.Env = append(gateway.Env, corev1.EnvVar{Name: "ELASTICHUB_GATEWAY_METRICS_TOKEN_FILE", Value: gatewayMetricsDir + "/" + metricsTokenKey})
	gateway.VolumeMounts = append(gateway.VolumeMounts, corev1.VolumeMount{Name: "metrics", MountPath: gatewayMetricsDir, ReadOnly: true})
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "metrics", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: secret, Items: []corev1.KeyToPath{{Key: metricsTokenKey, Path: metricsTokenKey}}, DefaultMode: ptr.To[int32](0o440), Optional: ptr.To(true),
	}}})
}

func gatewayResources(gw *v1alpha1.JupyterGateway) corev1.ResourceRequirements {
	if gw.Spec.Resources != nil {
		return *gw.Spec.Resources
	}
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
	}
}

// clientName is a client's name that can be that of a file.
var clientName = regexp.MustCompile(`^[A-Za-z0-9@_-][A-Za-z0-9@._-]{0,252}$`)

// clientTokens projects the token of each client into a file of the client's
// name. A Secret that does not exist yet keeps only that client out.
func clientTokens(gw *v1alpha1.JupyterGateway) corev1.VolumeSource {
	projected := &corev1.ProjectedVolumeSource{DefaultMode: ptr.To[int32](0o440), Sources: []corev1.VolumeProjection{}}
	if gw.Spec.Auth != nil {
		for _, client := range gw.Spec.Auth.Clients {
			if !clientName.MatchString(client.Name) {
				continue // said in a condition
			}
			projected.Sources = append(projected.Sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
				LocalObjectReference: client.TokenSecretRef.LocalObjectReference,
				Items:                []corev1.KeyToPath{{Key: client.TokenSecretRef.Key, Path: client.Name}},
				Optional:             ptr.To(true),
			}})
		}
	}
	if len(projected.Sources) == 0 {
		return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	}
	return corev1.VolumeSource{Projected: projected}
}

// gatewayAccount names the ServiceAccount, its Role and binding, and the ConfigMap.
func gatewayAccount(gw *v1alpha1.JupyterGateway) string { return gw.Name + "-gateway" }

// tokenKeys is what a gateway mounts to tell whose tokens are ours. Its processes read it while
// they run: another key takes no new one.
func tokenKeys(cfg Config, gw *v1alpha1.JupyterGateway) *corev1.ConfigMap {
	data := map[string]string{publicKeyName: cfg.Tokens.PublicKey(), publicKeysName: cfg.Tokens.PublicKeys()}
	if mark := cfg.Tokens.Mark(); mark != "" {
		data[tokenMarkName] = mark
	}
	return &corev1.ConfigMap{ObjectMeta: gatewayMeta(gw, gatewayAccount(gw)), Data: data}
}

func gatewayService(gw *v1alpha1.JupyterGateway, selector map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: gatewayMeta(gw, gw.Name),
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: selector,
			Ports: []corev1.ServicePort{
				{Name: "http", Port: v1alpha1.GatewayPort, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP},
			},
		},
	}
}

// gatewayRules are everything a gateway may do: read its catalogue and the
// notebooks its callers come from, and keep kernels.
func gatewayRules() []rbacv1.PolicyRule {
	group := []string{v1alpha1.GroupVersion.Group}
	return []rbacv1.PolicyRule{
		{APIGroups: group, Resources: []string{"jupyternotebooks", "jupyterkernelspecs", "jupytergateways", "grouppolicies"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: group, Resources: []string{"jupyterkernels"}, Verbs: []string{"get", "list", "watch", "create", "patch", "delete"}},
	}
}

func gatewayBinding(gw *v1alpha1.JupyterGateway, name string, ref rbacv1.RoleRef) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: gatewayMeta(gw, name),
		RoleRef:    ref,
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: gatewayAccount(gw), Namespace: gw.Namespace}},
	}
}

func roleRef(kind, name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

// URL is where notebooks of the cluster reach a gateway.
func URL(namespace, name string) string {
	return fmt.Sprintf("http://%s.%s.svc:%d", name, namespace, v1alpha1.GatewayPort)
}
