package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
)

// check is one thing to look at.
type check struct {
	name string
	look func(*Picture) []Problem
}

// checks are in the order in which their problems are best mended.
var checks = []check{
	{"kubernetes-version", kubernetesVersion},
	{"values", values},
	{"kinds", kinds},
	{"versions", versions},
	{"namespaces", namespacesOfRelease},
	{"rights", rights},
	{"secrets", secrets},
	{"hub-token", hubToken},
	{"directory", directory},
	{"malformed", malformed},
	{"orphans", orphans},
	{"policies", policies},
	{"kernel-names", kernelNames},
	{"storage-class", storageClass},
	{"homes", homes},
	{"gpu-resource", gpuResource},
	{"dynamic-allocation", dynamicAllocation},
	{"network-policies", networkPolicies},
	{"images", images},
	{"gateway-keys", gatewayKeys},
}

func kubernetesVersion(p *Picture) []Problem {
	oldest, err := version.ParseGeneric(strings.TrimPrefix(p.Oldest, ">="))
	if err != nil {
		return nil
	}
	runs, err := version.ParseGeneric(p.Kubernetes)
	if err != nil || runs.AtLeast(oldest) {
		return nil
	}
	return []Problem{{
		What: fmt.Sprintf("the cluster is Kubernetes %s, and Helm does not install the chart on it", p.Kubernetes),
		Fix:  fmt.Sprintf("upgrade the cluster to %s or newer", oldest),
	}}
}

func values(p *Picture) (found []Problem) {
	for _, fault := range p.ValuesFaults {
		found = append(found, Problem{What: fault, Fix: "correct the values file; charts/elastichub/README.md lists all values"})
	}
	return found
}

func kinds(p *Picture) []Problem {
	var missing, different []string
	for _, k := range p.Kinds {
		switch k.State {
		case KindSame:
		case KindMissing:
			missing = append(missing, k.Name)
		case KindDifferent:
			different = append(different, k.Name)
		}
	}
	if !p.Installed && (p.Values.CRDs.Upgrade || len(different) == 0) {
		return nil // the installation brings them
	}
	const fix = "run `elastichub crds apply` of this version, or set crds.upgrade and upgrade the release"
	var found []Problem
	if len(missing) > 0 {
		found = append(found, Problem{What: "the cluster does not know " + strings.Join(missing, ", "), Fix: fix})
	}
	if len(different) > 0 {
		found = append(found, Problem{What: "the cluster has another version than this binary of " + strings.Join(different, ", "), Fix: fix})
	}
	return found
}

func namespacesOfRelease(p *Picture) (found []Problem) {
	for _, name := range p.Absent {
		found = append(found, Problem{
			What: fmt.Sprintf("watchNamespaces names %s, and there is no such namespace: Helm cannot make the service's rights there", name),
			Fix:  "kubectl create namespace " + name + ", or take it out of watchNamespaces",
		})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Elsewhere)) {
		found = append(found, Problem{
			What: fmt.Sprintf("the namespace %s is looked after by the release in the namespace %s, so that this one does nothing there", name, p.Elsewhere[name]),
			Fix:  "take it out of watchNamespaces of one of the two; a release that is gone keeps it for five minutes more",
		})
	}
	return found
}

func rights(p *Picture) []Problem {
	if !p.Installed {
		return nil
	}
	lacks := map[string][]string{}
	var order []string
	for _, r := range p.Rights {
		if r.Allowed {
			continue
		}
		what := r.Resource
		if r.Group != "" {
			what += "." + r.Group
		}
		if r.Everywhere {
			what += " of the whole cluster"
		}
		if r.Namespace != "" {
			what += " in the namespace " + r.Namespace
		}
		if lacks[what] == nil {
			order = append(order, what)
		}
		lacks[what] = append(lacks[what], r.Verb)
	}
	var found []Problem
	for _, what := range order {
		found = append(found, Problem{
			What: fmt.Sprintf("the account %s of the service may not %s %s", p.Release, strings.Join(lacks[what], ", "), what),
			Fix:  "restore the chart's Role and ClusterRole with their bindings, by helm upgrade",
		})
	}
	return found
}

func secrets(p *Picture) (found []Problem) {
	for _, s := range p.Secrets {
		switch s.Missing {
		case SecretWhole:
		case SecretAbsent:
			found = append(found, Problem{
				What: fmt.Sprintf("the Secret %s of %s does not exist, so the service's Pods do not start", s.Name, s.Value),
				Fix:  fmt.Sprintf("kubectl -n %s create secret generic %s --from-file=%s=FILE", p.Namespace, s.Name, s.Key),
			})
		case SecretKeyless:
			found = append(found, Problem{
				What: fmt.Sprintf("the Secret %s of %s has no key %s, or nothing in it", s.Name, s.Value, s.Key),
				Fix:  fmt.Sprintf("put the value below the key %s", s.Key),
			})
		}
	}
	return found
}

func hubToken(p *Picture) (found []Problem) {
	for _, hub := range p.Hubs {
		switch hub.Answer {
		case AnswerNotAsked:
		case AnswerGood:
			if len(hub.Lacks) > 0 {
				found = append(found, Problem{
					What: fmt.Sprintf("the token of %s lacks %s of the Hub at %s: %s", hub.Value, scopes(hub.Lacks), hub.URL, withoutScopes[hub.Value]),
					Fix:  "give the token's service a role with them in JupyterHub.load_roles",
				})
			}
		case AnswerRefused:
			found = append(found, Problem{
				What: fmt.Sprintf("the Hub at %s refuses the token of %s (%s)", hub.URL, hub.Value, hub.Detail),
				Fix:  "put the api_token of a service that the Hub knows into that Secret, under the key token",
			})
		case AnswerNone:
			found = append(found, Problem{
				What: fmt.Sprintf("the Hub at %s does not answer (%s)", hub.URL, hub.Detail),
				Fix:  "correct the apiURL beside " + hub.Value + ", such as http://hub:8081/hub/api",
			})
		}
	}
	return found
}

// withoutScopes is what does not work without what the token of a value should be able to.
var withoutScopes = map[string]string{
	"hub.tokenSecret":        "servers are stopped without the Hub, and one of the Hub's that somebody else starts does not run",
	"groups.hub.tokenSecret": "nobody's groups are known, and who has none gets no server",
}

func scopes(names []string) string {
	word := "the scope "
	if len(names) > 1 {
		word = "the scopes "
	}
	return word + strings.Join(names, " and ")
}

func directory(p *Picture) (found []Problem) {
	for _, d := range p.Directories {
		switch d.Answer {
		case AnswerGood, AnswerNotAsked:
		case AnswerRefused:
			found = append(found, Problem{
				What: fmt.Sprintf("the directory %s answers, and does not serve the service (%s)", d.URL, d.Detail),
				Fix:  "correct bindDN, its password, userBase or the TLS settings of " + d.Value,
			})
		case AnswerNone:
			found = append(found, Problem{
				What: fmt.Sprintf("the directory %s does not answer (%s), and users whose groups nobody knows get no server", d.URL, d.Detail),
				Fix:  "correct " + d.Value + ".urls, or open the way to it",
			})
		}
	}
	return found
}

func malformed(p *Picture) (found []Problem) {
	add := func(kind, name string, err error) {
		if err != nil {
			found = append(found, Problem{What: fmt.Sprintf("%s %s cannot be read: %v", kind, name, err), Fix: "correct the object with kubectl edit"})
		}
	}
	for i := range p.Policies {
		add("GroupPolicy", p.Policies[i].Name, p.Policies[i].Malformed())
	}
	for i := range p.KernelSpecs {
		add("JupyterKernelSpec", p.KernelSpecs[i].Name, p.KernelSpecs[i].Malformed())
	}
	for i := range p.Templates {
		add("JupyterKernelTemplate", p.Templates[i].Name, p.Templates[i].Malformed())
	}
	for i := range p.Gateways {
		add("JupyterGateway", p.Gateways[i].Name, p.Gateways[i].Malformed())
	}
	return found
}

// mostOrphans bounds how many are named.
const mostOrphans = 10

// orphans are those that only an administrator ends.
func orphans(p *Picture) []Problem {
	var names []string
	reported := p.Values.Orphans.Mode == "report"
	for i := range p.Notebooks {
		nb := &p.Notebooks[i]
		c := apimeta.FindStatusCondition(nb.Status.Conditions, v1alpha1.ConditionOrphan)
		if c != nil && c.Status == metav1.ConditionTrue && (reported || c.Reason == string(v1alpha1.ReasonHubUserUnclear)) {
			names = append(names, fmt.Sprintf("%s (%s)", nb.Name, c.Reason))
		}
	}
	if len(names) == 0 || p.Values.Orphans.Mode == "off" { // then nobody looks, and what was seen is old
		return nil
	}
	slices.Sort(names)
	list := strings.Join(names[:min(len(names), mostOrphans)], ", ")
	if more := len(names) - mostOrphans; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	fix := "stop or delete the JupyterNotebooks whose servers nobody needs (docs/hub.md); homes stay"
	if reported {
		fix += ". With orphans.mode: remove the leader does so for all but HubUserUnclear"
	}
	return []Problem{{What: "the Hub does not know these servers, or not that they run: " + list, Fix: fix}}
}

func policies(p *Picture) (found []Problem) {
	if !p.HasGroups && len(p.Policies) > 0 {
		found = append(found, Problem{
			What: "there are GroupPolicies, and the values have no source of groups, so they count for no user of a Hub",
			Fix:  "set one of groups.ldap, groups.oidc, groups.hub, groups.file; without JupyterHub none is needed, nor are policies",
		})
	}
	if p.HasGroups && p.Installed && len(p.Policies) == 0 && !p.unread("grouppolicies") {
		found = append(found, Problem{What: "there is no GroupPolicy, so nobody gets a server", Fix: "apply one, such as those in examples/policies"})
	}
	for i := range p.Policies {
		policy := &p.Policies[i]
		if policy.Malformed() != nil {
			continue
		}
		for _, fault := range groups.ValidatePolicy(*policy) {
			found = append(found, Problem{What: fmt.Sprintf("the policy %s counts for nobody: %v", policy.Name, fault), Fix: "correct that field"})
		}
	}
	return found
}

func kernelNames(p *Picture) (found []Problem) {
	if p.unread("jupyterkernelspecs") {
		return nil
	}
	known := map[string]bool{v1alpha1.DefaultKernelName: true}
	for _, spec := range p.KernelSpecs {
		known[spec.Name] = true
	}
	unknown := func(names []string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return known[name] }), ", ")
	}
	for _, policy := range p.Policies {
		if names := unknown(policy.Spec.Kernels.Allowed); names != "" {
			found = append(found, Problem{
				What: fmt.Sprintf("the policy %s allows kernels that do not exist: %s", policy.Name, names),
				Fix:  "apply JupyterKernelSpecs of these names, or take them out of kernels.allowed",
			})
		}
	}
	for _, gateway := range p.Gateways {
		if names := unknown(gateway.Spec.Kernels); names != "" {
			found = append(found, Problem{
				What: fmt.Sprintf("the gateway %s lends kernels that do not exist: %s", gateway.Name, names),
				Fix:  "apply JupyterKernelSpecs of these names, or take them out of spec.kernels",
			})
		}
	}
	wanted := p.Values.Notebooks.Gateway
	has := slices.ContainsFunc(p.Gateways, func(g v1alpha1.JupyterGateway) bool { return g.Name == wanted })
	if p.HasGroups && p.Installed && wanted != "" && !has && !p.unread("jupytergateways") {
		found = append(found, Problem{
			What: fmt.Sprintf("there is no JupyterGateway %s, so servers have no kernels but their own", wanted),
			Fix:  "apply one of that name, or set notebooks.gateway",
		})
	}
	return found
}

// engines are the DaemonSets of what enforces NetworkPolicies, by how their names begin.
var engines = []string{
	"anetd", "antrea-agent", "azure-npm", "aws-network-policy", "calico-node", "canal", "cilium", "kindnet",
	"kube-network-policies", "kube-router", "ovnkube-node", "ovn-kubernetes", "ovs-ovn", "rke2-canal", "rke2-cilium", "romana-agent", "sdn", "weave-net",
}

func networkPolicies(p *Picture) []Problem {
	if !p.Values.NetworkPolicy.Enabled || p.unread("daemonsets") {
		return nil
	}
	for _, name := range p.DaemonSets {
		if slices.ContainsFunc(engines, func(engine string) bool { return strings.HasPrefix(name, engine) }) {
			return nil
		}
	}
	for _, node := range p.Nodes { // k3s has one in its own process
		if strings.Contains(node.Status.NodeInfo.KubeletVersion, "+k3s") {
			return nil
		}
	}
	return []Problem{{
		What: "nothing in the cluster is known to enforce NetworkPolicies, so the chart's close nothing: any Pod reaches every notebook and kernel",
		Fix:  "install an engine such as Calico, Cilium or kube-router; where one is there under another name, or you need none, set networkPolicy.enabled: false",
	}}
}

func images(p *Picture) (found []Problem) {
	seen := map[string]bool{}
	for i := range p.Pods {
		pod := &p.Pods[i]
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			waiting := s.State.Waiting
			if waiting == nil || !cannotBePulled(waiting.Reason) || seen[imageOf(pod, s)] {
				continue
			}
			seen[imageOf(pod, s)] = true
			found = append(found, Problem{
				What: fmt.Sprintf("the Pod %s waits for the image %s, which cannot be pulled (%s)", pod.Name, imageOf(pod, s), waiting.Reason),
				Fix:  "correct its name, tag or digest, or give the registry's credentials (imagePullSecrets)",
			})
		}
	}
	return found
}

func cannotBePulled(reason string) bool {
	return slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}, reason)
}

// imageOf is the image as the Pod asks for it.
func imageOf(pod *corev1.Pod, s corev1.ContainerStatus) string {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == s.Name {
			return c.Image
		}
	}
	return s.Image
}

func (p *Picture) unread(what string) bool {
	return slices.ContainsFunc(p.Unread, func(u Unread) bool { return u.What == what })
}
