package podrules

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Bounds of a policy's Pod that its schema has too, where they are numbers of things.
const (
	maxPolicyContainers = 16
	maxPolicyVolumes    = 64
	maxPolicyMounts     = 64
	maxPolicyLabels     = 64
	maxExtraResources   = 16
	maxPolicyImageBytes = 1024
	maxPathBytes        = 4096
	// maxPolicyPodBytes is of its JSON. A JupyterNotebook and a Deployment hold it several times.
	maxPolicyPodBytes = 64 << 10
)

// NotebookGraceSeconds is what the stop of a server may take, hooks included. A notebook
// server has nothing to hand over: its kernels are elsewhere.
const NotebookGraceSeconds = 10

// MaxScratch is what an emptyDir of a policy may have at most; one that says nothing has
// DefaultScratch.
var (
	MaxScratch     = resource.MustParse("1Ti")
	DefaultScratch = resource.MustParse("1Gi")
)

// DefaultBeside are the limits of a policy's container that says none, and BesideRequest
// what it requests of the CPU then: most of these are at rest.
var (
	DefaultBeside = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("512Mi")}
	BesideRequest = resource.MustParse("50m")
)

// PolicyPodBounds is what a policy says besides, and its Pod is held against.
type PolicyPodBounds struct {
	// CPU and Memory are the most that a server may have, and so what is beside it.
	CPU, Memory resource.Quantity
	Storage     *v1alpha1.NotebookStorage
	// GPUResources are lent to kernels.
	GPUResources []string
}

// PolicyPodFaults are all reasons to refuse what a policy puts into the Pods of servers.
// Their paths are below spec.pod.
func PolicyPodFaults(pod *v1alpha1.PolicyPod, bounds PolicyPodBounds) []Fault {
	if pod == nil {
		return nil
	}
	if text, err := json.Marshal(pod); err != nil || len(text) > maxPolicyPodBytes {
		return []Fault{{Path: "", Problem: fmt.Sprintf("has %d bytes as JSON, the most is %d", len(text), maxPolicyPodBytes)}}
	}
	c := &policyPodCheck{pod: pod, bounds: bounds, claims: Claims(&v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{Storage: bounds.Storage}})}
	c.numbers()
	c.faults = append(c.faults, MetadataFaults(pod.Labels, pod.Annotations, true)...)
	c.volumes()
	c.mounts("volumeMounts", pod.VolumeMounts, c.claims)
	c.containers()
	c.together()
	c.lifecycle("lifecycle", pod.Lifecycle)
	c.extraResources()
	c.security()
	return c.faults
}

type policyPodCheck struct {
	pod    *v1alpha1.PolicyPod
	bounds PolicyPodBounds
	// claims are the volumes of the policy's storage, which containers may mount, too.
	claims []Claim
	faults []Fault
}

func (c *policyPodCheck) add(at, format string, args ...any) {
	c.faults = append(c.faults, Fault{Path: at, Problem: fmt.Sprintf(format, args...)})
}

func (c *policyPodCheck) numbers() {
	for _, list := range []struct {
		at      string
		n, most int
	}{
		{"labels", len(c.pod.Labels), maxPolicyLabels}, {"annotations", len(c.pod.Annotations), maxPolicyLabels},
		{"initContainers", len(c.pod.InitContainers), maxPolicyContainers}, {"containers", len(c.pod.Containers), maxPolicyContainers},
		{"volumes", len(c.pod.Volumes), maxPolicyVolumes}, {"volumeMounts", len(c.pod.VolumeMounts), maxPolicyMounts},
		{"extraResources", len(c.pod.ExtraResources), maxExtraResources},
	} {
		if list.n > list.most {
			c.add(list.at, "has %d, the most is %d", list.n, list.most)
		}
	}
}

// ownVolume reports whether a volume's name is that of one that elastichub makes.
func ownVolume(name string) bool {
	return name == HomeVolume || name == "auth" || strings.HasPrefix(name, sharedVolumePrefix) || strings.HasPrefix(name, "elastichub-")
}

func (c *policyPodCheck) volumes() {
	names := map[string]bool{}
	for i := range c.pod.Volumes {
		v, at := &c.pod.Volumes[i], fmt.Sprintf("volumes[%d]", i)
		for _, text := range validation.IsDNS1123Label(v.Name) {
			c.add(at+".name", "%q: %s", v.Name, text)
		}
		if ownVolume(v.Name) {
			c.add(at+".name", "%q: home, auth, shared-… and elastichub-… are elastichub's own volumes", v.Name)
		}
		if names[v.Name] {
			c.add(at+".name", "%q is there twice", v.Name)
		}
		names[v.Name] = true
		if f := volumeFault(at, &v.VolumeSource); f != nil {
			c.faults = append(c.faults, *f)
			continue
		}
		if n := sources(&v.VolumeSource); n > 1 {
			c.add(at, "is of %d kinds: a volume is of one", n)
			continue
		}
		c.objectNames(at, volumeObjects(&v.VolumeSource))
		if e := v.Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
			for _, f := range MetadataFaults(e.VolumeClaimTemplate.Labels, e.VolumeClaimTemplate.Annotations, false) {
				c.add(at+".ephemeral.volumeClaimTemplate.metadata."+f.Path, "%s", f.Problem)
			}
		}
		if dir := v.EmptyDir; dir != nil && dir.SizeLimit != nil && (dir.SizeLimit.Sign() <= 0 || dir.SizeLimit.Cmp(MaxScratch) > 0) {
			c.add(at+".emptyDir.sizeLimit", "%s must be more than 0, and at most %s", dir.SizeLimit, &MaxScratch)
		}
	}
}

// sources counts the kinds that a volume says to be of.
func sources(s *corev1.VolumeSource) int {
	n := 0
	for _, is := range []bool{s.Projected != nil, s.ConfigMap != nil, s.CSI != nil, s.DownwardAPI != nil, s.EmptyDir != nil,
		s.Ephemeral != nil, s.Image != nil, s.PersistentVolumeClaim != nil, s.Secret != nil} {
		if is {
			n++
		}
	}
	return n
}

// volumeObjects are the names of what a volume shows, by their paths in it.
func volumeObjects(s *corev1.VolumeSource) map[string]*string {
	names := map[string]*string{}
	switch {
	case s.PersistentVolumeClaim != nil:
		names["persistentVolumeClaim.claimName"] = &s.PersistentVolumeClaim.ClaimName
	case s.ConfigMap != nil:
		names["configMap.name"] = &s.ConfigMap.Name
	case s.Secret != nil:
		names["secret.secretName"] = &s.Secret.SecretName
	case s.Projected != nil:
		for i := range s.Projected.Sources {
			source, at := &s.Projected.Sources[i], fmt.Sprintf("projected.sources[%d]", i)
			if source.ConfigMap != nil {
				names[at+".configMap.name"] = &source.ConfigMap.Name
			}
			if source.Secret != nil {
				names[at+".secret.name"] = &source.Secret.Name
			}
		}
	}
	return names
}

func (c *policyPodCheck) objectNames(below string, names map[string]*string) {
	for _, field := range slices.Sorted(maps.Keys(names)) {
		at, name := below+"."+field, *names[field]
		if problem := nameMarksProblem(name); problem != "" {
			c.add(at, "%q: %s", name, problem)
			continue
		}
		for _, text := range validation.IsDNS1123Subdomain(example(name)) {
			c.add(at, "%q: %s", name, text)
		}
	}
}

// mounts are those of one container; taken are what it has mounted besides.
func (c *policyPodCheck) mounts(at string, mounts []corev1.VolumeMount, taken []Claim) {
	known := map[string]bool{}
	for _, v := range c.pod.Volumes {
		known[v.Name] = true
	}
	for _, claim := range c.claims {
		known[claim.Volume] = true
	}
	paths := map[string]bool{}
	for i, m := range mounts {
		here := fmt.Sprintf("%s[%d]", at, i)
		if !known[m.Name] {
			c.add(here+".name", "%q is no volume of pod.volumes, and none of storage, which are home and shared-NAME", m.Name)
		}
		clean := path.Clean(m.MountPath)
		switch {
		case !path.IsAbs(m.MountPath), clean == "/", strings.Contains(m.MountPath, ":"), strings.Contains(m.MountPath, ".."), len(m.MountPath) > maxPathBytes:
			c.add(here+".mountPath", "%.64q must be absolute and not the root, of at most %d bytes, without : and ..", m.MountPath, maxPathBytes)
		case strings.ContainsAny(m.MountPath, "{}"):
			c.add(here+".mountPath", "%q: names are written out in subPath, not here", m.MountPath)
		case clean == v1alpha1.TokenDirectory, strings.HasPrefix(clean, v1alpha1.TokenDirectory+"/"):
			c.add(here+".mountPath", "%q is where tokens of the service account are", m.MountPath)
		case paths[clean]:
			c.add(here+".mountPath", "%q is used twice", m.MountPath)
		case slices.ContainsFunc(taken, func(claim Claim) bool { return claim.Path == clean }):
			c.add(here+".mountPath", "%q is where a volume of storage is mounted", m.MountPath)
		}
		paths[clean] = true
		if ptr.Deref(m.MountPropagation, "") == corev1.MountPropagationBidirectional {
			c.add(here+".mountPropagation", "Bidirectional is for privileged containers alone")
		}
		if m.SubPathExpr != "" {
			c.add(here+".subPathExpr", "must be empty: subPath has %s and %s", v1alpha1.UsernameMark, v1alpha1.ServernameMark)
		}
		if problem := marksProblem(m.SubPath, "--", "/"); problem != "" {
			c.add(here+".subPath", "%q: %s", m.SubPath, problem)
		}
		if path.IsAbs(m.SubPath) || strings.Contains(m.SubPath, "..") {
			c.add(here+".subPath", "%q must be relative, without ..", m.SubPath)
		}
	}
}

func (c *policyPodCheck) containers() {
	names := map[string]bool{v1alpha1.NotebookContainer: true}
	for _, list := range []struct {
		at         string
		containers []corev1.Container
	}{{"initContainers", c.pod.InitContainers}, {"containers", c.pod.Containers}} {
		for i := range list.containers {
			at, container := fmt.Sprintf("%s[%d]", list.at, i), &list.containers[i]
			for _, text := range validation.IsDNS1123Label(container.Name) {
				c.add(at+".name", "%q: %s", container.Name, text)
			}
			switch {
			case container.Name == v1alpha1.NotebookContainer:
				c.add(at+".name", "%q is the server's own container", container.Name)
			case names[container.Name]:
				c.add(at+".name", "%q is there twice", container.Name)
			}
			names[container.Name] = true
			c.container(at, container)
		}
	}
}

func (c *policyPodCheck) container(at string, container *corev1.Container) {
	if container.Image == "" || len(container.Image) > maxPolicyImageBytes || strings.ContainsFunc(container.Image, func(r rune) bool { return r <= ' ' || r > '~' }) {
		c.add(at+".image", "must be an image of 1 to %d bytes", maxPolicyImageBytes)
	}
	if len(container.VolumeDevices) > 0 {
		c.add(at+".volumeDevices", "must be empty")
	}
	for i, v := range container.Env {
		if problems := validation.IsEnvVarName(v.Name); len(problems) > 0 {
			c.add(fmt.Sprintf("%s.env[%d].name", at, i), "%q: %s", v.Name, problems[0])
		}
	}
	c.objectNames(at, variableSources(container))
	for i, port := range container.Ports {
		if port.ContainerPort == v1alpha1.NotebookPort {
			c.add(fmt.Sprintf("%s.ports[%d].containerPort", at, i), "%d is the server's own", port.ContainerPort)
		}
	}
	c.mounts(at+".volumeMounts", container.VolumeMounts, nil)
	c.lifecycle(at+".lifecycle", container.Lifecycle)
	c.resources(at+".resources", container.Resources)
}

// variableSources are the names of what a container has its variables from, by their paths.
func variableSources(container *corev1.Container) map[string]*string {
	names := map[string]*string{}
	for i := range container.Env {
		from := container.Env[i].ValueFrom
		if from != nil && from.SecretKeyRef != nil {
			names[fmt.Sprintf("env[%d].valueFrom.secretKeyRef.name", i)] = &from.SecretKeyRef.Name
		}
		if from != nil && from.ConfigMapKeyRef != nil {
			names[fmt.Sprintf("env[%d].valueFrom.configMapKeyRef.name", i)] = &from.ConfigMapKeyRef.Name
		}
	}
	for i := range container.EnvFrom {
		from := &container.EnvFrom[i]
		if from.SecretRef != nil {
			names[fmt.Sprintf("envFrom[%d].secretRef.name", i)] = &from.SecretRef.Name
		}
		if from.ConfigMapRef != nil {
			names[fmt.Sprintf("envFrom[%d].configMapRef.name", i)] = &from.ConfigMapRef.Name
		}
	}
	return names
}

func (c *policyPodCheck) resources(at string, r corev1.ResourceRequirements) {
	if len(r.Claims) > 0 {
		c.add(at+".claims", "must be empty: devices are for kernels, by spec.kernels")
	}
	for _, kind := range []struct {
		field string
		list  corev1.ResourceList
	}{{"limits", r.Limits}, {"requests", r.Requests}} {
		for _, name := range slices.Sorted(maps.Keys(kind.list)) {
			here, q := fmt.Sprintf("%s.%s[%s]", at, kind.field, name), kind.list[name]
			if IsExtendedResource(name) {
				c.add(here, "is for the server's own container, by pod.extraResources, or for kernels, by spec.kernels")
			}
			if q.Sign() < 0 {
				c.add(here, "%s must not be negative", &q)
			}
		}
	}
	have := BesideResources(r)
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		limit, request, most := have.Limits[name], have.Requests[name], c.most(name)
		if limit.Sign() <= 0 || limit.Cmp(most) > 0 {
			c.add(fmt.Sprintf("%s.limits[%s]", at, name), "%s must be more than 0, and at most %s.max, which is %s", &limit, name, &most)
		}
		if request.Cmp(limit) > 0 {
			c.add(fmt.Sprintf("%s.requests[%s]", at, name), "%s must not be more than the limit, which is %s", &request, &limit)
		}
	}
}

func (c *policyPodCheck) most(name corev1.ResourceName) resource.Quantity {
	if name == corev1.ResourceCPU {
		return c.bounds.CPU
	}
	return c.bounds.Memory
}

// together bounds what runs beside the server for as long as that does.
func (c *policyPodCheck) together() {
	beside := slices.Clone(c.pod.Containers)
	for i := range c.pod.InitContainers {
		if isSidecar(&c.pod.InitContainers[i]) {
			beside = append(beside, c.pod.InitContainers[i])
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		var sum resource.Quantity
		for i := range beside {
			sum.Add(BesideResources(beside[i].Resources).Limits[name])
		}
		if most := c.most(name); len(beside) > 1 && sum.Cmp(most) > 0 {
			c.add("containers", "and initContainers that go on have limits of %s of %s together, the most is %s.max, which is %s", &sum, name, name, &most)
		}
	}
}

func isSidecar(c *corev1.Container) bool {
	return ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
}

func (c *policyPodCheck) lifecycle(at string, hooks *corev1.Lifecycle) {
	if hooks == nil {
		return
	}
	for _, hook := range []struct {
		at      string
		handler *corev1.LifecycleHandler
	}{{at + ".postStart", hooks.PostStart}, {at + ".preStop", hooks.PreStop}} {
		if hook.handler == nil {
			continue
		}
		n := 0
		for _, is := range []bool{hook.handler.Exec != nil, hook.handler.HTTPGet != nil, hook.handler.TCPSocket != nil, hook.handler.Sleep != nil} {
			if is {
				n++
			}
		}
		switch {
		case n != 1, hook.handler.TCPSocket != nil:
			c.add(hook.at, "must have one of exec, httpGet and sleep")
		case hook.handler.Exec != nil && len(hook.handler.Exec.Command) == 0:
			c.add(hook.at+".exec.command", "must not be empty")
		case hook.handler.Sleep != nil && (hook.handler.Sleep.Seconds < 0 || hook.handler.Sleep.Seconds > NotebookGraceSeconds):
			c.add(hook.at+".sleep.seconds", "%d must be from 0 to %d, which is what a stop may take", hook.handler.Sleep.Seconds, NotebookGraceSeconds)
		}
	}
	if hooks.StopSignal != nil {
		c.add(at+".stopSignal", "must not be set: it is the image's")
	}
}

// IsGPU tells a GPU by its resource: those of NVIDIA, AMD and Intel and their parts are called so.
func IsGPU(name corev1.ResourceName) bool {
	domain, device, _ := strings.Cut(string(name), "/")
	return strings.Contains(device, "gpu") || strings.HasPrefix(device, "mig-") || strings.HasPrefix(domain, "gpu.")
}

func (c *policyPodCheck) extraResources() {
	for _, name := range slices.Sorted(maps.Keys(c.pod.ExtraResources)) {
		at, q := fmt.Sprintf("extraResources[%s]", name), c.pod.ExtraResources[name]
		whole := q.MilliValue()%1000 == 0
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory:
			c.add(at, "is what members choose, within spec.%s", name)
		case IsGPU(name), slices.Contains(c.bounds.GPUResources, string(name)):
			c.add(at, "GPUs are not given to servers: kernels borrow them while they compute. Set spec.kernels.allowed, spec.kernels.gpuResource and spec.kernels.gpusPerKernel instead")
		case !IsExtendedResource(name) && name != corev1.ResourceEphemeralStorage && !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			c.add(at, "must be ephemeral-storage, hugepages-SIZE or an extended resource such as example.org/fpga")
		case len(validation.IsQualifiedName(string(name))) > 0:
			c.add(at, "%s", validation.IsQualifiedName(string(name))[0])
		case q.Sign() <= 0, !whole:
			c.add(at, "%s must be a whole number that is more than 0", &q)
		}
	}
}

// security holds what is left against the rules of all templates, which is where Pod
// Security "restricted" is.
func (c *policyPodCheck) security() {
	t := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		SecurityContext: c.pod.PodSecurityContext, InitContainers: c.pod.InitContainers,
		Containers: []corev1.Container{{Name: v1alpha1.NotebookContainer, SecurityContext: c.pod.SecurityContext, Lifecycle: c.pod.Lifecycle}},
	}}
	t.Annotations = c.pod.Annotations
	for _, check := range []func(*corev1.PodTemplateSpec) *Fault{annotationFault, podContextFault, containersFault} {
		if f := check(t); f != nil {
			f.Path = policyPath(f.Path)
			c.faults = append(c.faults, *f)
		}
	}
	t.Spec.InitContainers, t.Spec.Containers = nil, c.pod.Containers
	if f := containersFault(t); f != nil {
		f.Path = strings.TrimPrefix(f.Path, "spec.")
		c.faults = append(c.faults, *f)
	}
}

// policyPath is where in a policy's Pod stands what is at a path in a template.
func policyPath(at string) string {
	for of, in := range map[string]string{
		"spec.containers[0].": "", "spec.securityContext": "podSecurityContext", "spec.initContainers": "initContainers", "metadata.": "",
	} {
		if rest, ok := strings.CutPrefix(at, of); ok {
			return in + rest
		}
	}
	return at
}
