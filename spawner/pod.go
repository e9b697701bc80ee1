package spawner

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

const (
	authVolume = "auth"
	authPath   = "/etc/elastichub/auth"
)

// Options of jupyter_server's gateway client (gateway_client.py). It gives up
// a kernel after RETRY_MAX lost connections in a row, by default 31 s: a
// gateway that is away for longer must not cost anyone a session.
const (
	gatewayConnectTimeout   = "10"
	gatewayRequestTimeout   = "60"
	gatewayRetryInterval    = "1"
	gatewayRetryIntervalMax = "5"
	gatewayRetryMax         = "1000"
)

func clusterURL(service, namespace string, port int) string {
	return fmt.Sprintf("http://%s.%s.svc:%d", service, namespace, port)
}

// podTemplate completes a notebook's template: whatever it sets stays, except
// labels, annotations and switches that others rely on.
func podTemplate(cfg Config, nb *v1alpha1.JupyterNotebook, authVersion string, tokenIn corev1.SecretKeySelector) corev1.PodTemplateSpec {
	var template corev1.PodTemplateSpec
	if nb.Spec.Template != nil {
		nb.Spec.Template.PodTemplateSpec.DeepCopyInto(&template)
	}
	template.Labels = podLabels(nb, template.Labels)
	template.Annotations = podAnnotations(nb, template.Annotations, authVersion)
	// Nothing else of a template's metadata means anything.
	template.Name, template.GenerateName, template.Namespace = "", "", ""

	pod := &template.Spec
	if len(pod.Containers) == 0 {
		pod.Containers = []corev1.Container{standalone(cfg)}
	}
	grace := int64(podrules.NotebookGraceSeconds)
	pod.RestartPolicy = corev1.RestartPolicyAlways // the only one of Deployments
	if pod.TerminationGracePeriodSeconds == nil {
		pod.TerminationGracePeriodSeconds = &grace
	}
	podrules.Harden(pod)
	podrules.RunAs(pod, accountOf(nb))

	container := notebookContainer(pod)
	completeContainer(cfg, nb, container, tokenIn)
	if nb.Spec.Gateway != nil {
		mountToken(pod, container, tokenIn)
	}
	mountSSL(nb, pod, container)
	podrules.Mount(pod, container, podrules.Claims(nb))
	podrules.KeepTogether(nb, template.Labels, pod)
	podrules.ShareMemory(pod, container, nil)
	podrules.MountAccountTokens(pod, container, nb.Spec.ServiceAccountTokens)
	if container.WorkingDir == "" && nb.HomeClaim() != "" {
		container.WorkingDir = nb.Spec.Storage.Home.Path()
	}
	if authVersion != "" {
		mountAuth(nb, pod, container)
	}
	podrules.OnlyOwnDevices(pod)
	cfg.Images.Replace(pod)
	return template
}

// standalone serves without a Hub; its authentication comes from a file.
func standalone(cfg Config) corev1.Container {
	return corev1.Container{
		Name:    v1alpha1.NotebookContainer,
		Command: []string{"jupyter", "lab", "--ip=" + everywhere(cfg), "--port=" + strconv.Itoa(v1alpha1.NotebookPort), "--no-browser"},
	}
}

// notebookContainer is the one of that name, else the first.
func notebookContainer(pod *corev1.PodSpec) *corev1.Container {
	for i := range pod.Containers {
		if pod.Containers[i].Name == v1alpha1.NotebookContainer {
			return &pod.Containers[i]
		}
	}
	return &pod.Containers[0]
}

func completeContainer(cfg Config, nb *v1alpha1.JupyterNotebook, c *corev1.Container, tokenIn corev1.SecretKeySelector) {
	if c.Image == "" {
		c.Image = cfg.DefaultImage
	}
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = cfg.ImagePullPolicy
	}
	if !hasPort(c) {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: "notebook", ContainerPort: v1alpha1.NotebookPort, Protocol: corev1.ProtocolTCP})
	}
	if c.ReadinessProbe == nil {
		// TCP: the path depends on the server's base URL, which is in its
		// environment and arguments only. JupyterHub itself then asks <base_url>api.
		c.ReadinessProbe = &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(v1alpha1.NotebookPort)}},
			PeriodSeconds:    1,
			TimeoutSeconds:   1,
			FailureThreshold: 10,
		}
	}
	// The last lines of the log tell the user why a server ended.
	c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	if nb.Spec.EnvSecret != "" {
		c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: nb.Spec.EnvSecret},
		}})
	}
	if nb.Spec.EnvSecret == "" && cfg.Proxy.IsSet() { // who has one has all of it there
		c.Env = cfg.Proxy.Complete(c.Env)
	}
	addEnv(c, podrules.LimitVariables(c.Resources)...)
	if nb.Spec.Gateway != nil {
		addEnv(c, gatewayEnv(nb, tokenIn)...)
	}
}

func hasPort(c *corev1.Container) bool {
	for _, port := range c.Ports {
		if port.ContainerPort == v1alpha1.NotebookPort {
			return true
		}
	}
	return false
}

// addEnv leaves variables alone that a template sets.
func addEnv(c *corev1.Container, variables ...corev1.EnvVar) {
	set := map[string]bool{}
	for _, variable := range c.Env {
		set[variable.Name] = true
	}
	for _, variable := range variables {
		if !set[variable.Name] {
			c.Env = append(c.Env, variable)
		}
	}
}

// setEnv replaces a variable that a template sets.
func setEnv(c *corev1.Container, variable corev1.EnvVar) {
	c.Env = append(slices.DeleteFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == variable.Name }), variable)
}

func gatewayEnv(nb *v1alpha1.JupyterNotebook, tokenIn corev1.SecretKeySelector) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "JUPYTER_GATEWAY_URL", Value: clusterURL(nb.Spec.Gateway.Name, nb.GatewayKey().Namespace, v1alpha1.GatewayPort)},
		{Name: envGatewayToken, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &tokenIn}},
		{Name: "JUPYTER_GATEWAY_ALLOWED_ENVS", Value: podrules.EnvSession}, // what it sends with a start beside KERNEL_…
		{Name: "JUPYTER_GATEWAY_CONNECT_TIMEOUT", Value: gatewayConnectTimeout},
		{Name: "JUPYTER_GATEWAY_REQUEST_TIMEOUT", Value: gatewayRequestTimeout},
		{Name: "JUPYTER_GATEWAY_RETRY_INTERVAL", Value: gatewayRetryInterval},
		{Name: "JUPYTER_GATEWAY_RETRY_INTERVAL_MAX", Value: gatewayRetryIntervalMax},
		{Name: "JUPYTER_GATEWAY_RETRY_MAX", Value: gatewayRetryMax},
	}
}
