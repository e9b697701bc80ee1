package prepull

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/prepull/imagestate"
)

// Sources is everything that decides which images are wanted.
type Sources struct {
	Policies  []v1alpha1.GroupPolicy
	Notebooks []v1alpha1.JupyterNotebook
	Gateways  []v1alpha1.JupyterGateway
	Specs     []v1alpha1.JupyterKernelSpec
	Templates []v1alpha1.JupyterKernelTemplate
	// Devices are the names of the nodes that have each extended resource; nil: nobody
	// counts them.
	Devices map[string][]string
}

// Plan is which images are wanted, and where.
type Plan struct {
	Wanted     []imagestate.Wanted
	Placements []Placement
}

// Images are those of each placement, by its key.
func (p Plan) Images() map[string][]string {
	all := map[string][]string{}
	for _, one := range p.Placements {
		all[one.Key] = one.Images
	}
	return all
}

// PlanOf is pure. What cannot be read, and kernelspecs that no Pod can be made from, ask
// for nothing: their own conditions say what is wrong with them.
func PlanOf(cfg Config, from Sources) Plan {
	p := planner{cfg: cfg, from: from, wanted: map[string]*imagestate.Wanted{}, placements: map[string]*Placement{}}
	for i := range from.Policies {
		if policy := &from.Policies[i]; policy.Malformed() == nil {
			p.policies = append(p.policies, placing{policy, placingKey(policy)})
			p.addChannels(policy)
		}
	}
	if cfg.Kernels {
		p.addKernels()
	}
	return p.plan()
}

type planner struct {
	cfg        Config
	from       Sources
	wanted     map[string]*imagestate.Wanted
	placements map[string]*Placement
	policies   []placing
}

// placing is a policy and, as text, what of it has a say in where a kernel runs and how its
// images are pulled, in which most policies agree.
type placing struct {
	policy *v1alpha1.GroupPolicy
	key    string
}

func placingKey(policy *v1alpha1.GroupPolicy) string {
	s := &policy.Spec
	return string(encoded([]any{s.NodeSelector, s.Tolerations, s.Affinity, s.ImagePullSecrets}))
}

// want notes that somebody runs an image.
func (p *planner) want(image string, by imagestate.Use) *imagestate.Wanted {
	w := p.wanted[image]
	if w == nil {
		w = &imagestate.Wanted{Image: image}
		p.wanted[image] = w
	}
	if !slices.Contains(w.UsedBy, by) {
		w.UsedBy = append(w.UsedBy, by)
	}
	return w
}

// put has images pulled in a place.
func (p *planner) put(at place, nodes *corev1.NodeSelector, secrets []string, images ...string) {
	key := at.key()
	one := p.placements[key]
	if one == nil {
		one = &Placement{Key: key, NodeSelector: at.Selector, Tolerations: at.Tolerations, Nodes: nodes}
		p.placements[key] = one
	}
	one.Images, one.PullSecrets = append(one.Images, images...), append(one.PullSecrets, secrets...)
}

// addChannels takes the images of a policy's channels. A hidden one counts while somebody
// has a server of it, who may start that again.
func (p *planner) addChannels(policy *v1alpha1.GroupPolicy) {
	spec := &policy.Spec
	at := placeOf(&corev1.PodSpec{NodeSelector: spec.NodeSelector, Tolerations: spec.Tolerations, Affinity: spec.Affinity}, nil)
	var secrets []string
	for _, s := range spec.ImagePullSecrets {
		secrets = append(secrets, s.Name)
	}
	for _, channel := range spec.Images {
		if channel.Image == "" || channel.Hidden && !p.isChosen(policy.Name, channel.ID) {
			continue
		}
		image := p.cfg.NotebookImages.Of(channel.Image)
		p.want(image, imagestate.Use{Policy: policy.Name, Channel: channel.ID})
		p.put(at, at.Nodes, secrets, image)
	}
	p.addBeside(policy, at, secrets)
}

// addBeside takes the images of the containers that a policy puts into the Pods of servers,
// which start where those do.
func (p *planner) addBeside(policy *v1alpha1.GroupPolicy, at place, secrets []string) {
	if policy.Spec.Pod == nil {
		return
	}
	for _, list := range [][]corev1.Container{policy.Spec.Pod.InitContainers, policy.Spec.Pod.Containers} {
		for _, c := range list {
			if c.Image == "" {
				continue
			}
			image := p.cfg.NotebookImages.Of(c.Image)
			p.want(image, imagestate.Use{Policy: policy.Name, Container: c.Name})
			p.put(at, at.Nodes, secrets, image)
		}
	}
}

func (p *planner) isChosen(policy, channel string) bool {
	return slices.ContainsFunc(p.from.Notebooks, func(nb v1alpha1.JupyterNotebook) bool {
		return nb.Malformed() == nil && nb.Spec.ImageChannel == channel && nb.Spec.KernelOptions != nil && slices.Contains(nb.Spec.KernelOptions.Policies, policy)
	})
}

// addKernels takes the images of the kernelspecs that somebody may use.
func (p *planner) addKernels() {
	specs := slices.Clone(p.from.Specs)
	if !slices.ContainsFunc(specs, func(ks v1alpha1.JupyterKernelSpec) bool { return ks.Name == v1alpha1.DefaultKernelName }) {
		specs = append(specs, *podspec.BuiltIn(p.cfg.Pods, p.cfg.Namespace))
	}
	for i := range specs {
		if ks := &specs[i]; ks.Malformed() == nil {
			for _, policy := range p.users(ks.Name) {
				p.addKernel(ks, policy)
			}
		}
	}
}

// users are the policies under which a kernelspec may be used, if a gateway offers it: one
// of those that agree on where it runs. nil among them stands for none, under which clients of that gateway may
// use it and, where there are no policies at all, everybody.
func (p *planner) users(name string) []*v1alpha1.GroupPolicy {
	offered, free := false, len(p.from.Policies) == 0
	for i := range p.from.Gateways {
		if gw := &p.from.Gateways[i]; gw.Malformed() == nil && offers(gw, name) {
			offered, free = true, free || hasFreeClient(gw)
		}
	}
	if !offered {
		return nil
	}
	var all []*v1alpha1.GroupPolicy
	seen := map[string]bool{}
	for _, one := range p.policies {
		if !seen[one.key] && slices.Contains(one.policy.Spec.Kernels.Allowed, name) {
			seen[one.key] = true
			all = append(all, placer(one.policy))
		}
	}
	if free {
		all = append(all, nil)
	}
	return all
}

// placer is a policy that says nothing but where kernels run and how their images are pulled.
func placer(policy *v1alpha1.GroupPolicy) *v1alpha1.GroupPolicy {
	from := &policy.Spec
	return &v1alpha1.GroupPolicy{Spec: v1alpha1.GroupPolicySpec{
		NodeSelector: from.NodeSelector, Tolerations: from.Tolerations, Affinity: from.Affinity, ImagePullSecrets: from.ImagePullSecrets,
	}}
}

func offers(gw *v1alpha1.JupyterGateway, name string) bool {
	if len(gw.Spec.Kernels) == 0 {
		return name == v1alpha1.DefaultKernelName
	}
	return slices.Contains(gw.Spec.Kernels, name)
}

// hasFreeClient reports whether a client of a gateway is bound by no policy.
func hasFreeClient(gw *v1alpha1.JupyterGateway) bool {
	return gw.Spec.Auth != nil && slices.ContainsFunc(gw.Spec.Auth.Clients, func(c v1alpha1.GatewayClient) bool { return len(c.Policies) == 0 })
}

// addKernel takes the images of the Pod that a kernel would have.
func (p *planner) addKernel(ks *v1alpha1.JupyterKernelSpec, policy *v1alpha1.GroupPolicy) {
	template, ok := p.template(ks)
	if !ok {
		return
	}
	pod, err := podspec.Specimen(p.cfg.Pods, ks, template, policy)
	if err != nil {
		return
	}
	at := placeOf(&pod.Spec, podspec.Extended(&pod.Spec))
	nodes, why := p.nodesOf(at)
	var images, secrets []string
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			by := imagestate.Use{KernelSpec: ks.Name}
			if c.Image == p.cfg.Pods.Image {
				by = imagestate.Use{Service: true}
			}
			w := p.want(c.Image, by)
			if why != "" && !by.Service {
				if told := fmt.Sprintf("For the kernelspec %s: %s", ks.Name, why); !slices.Contains(w.Why, told) {
					w.Why = append(w.Why, told)
				}
			}
			images = append(images, c.Image)
		}
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		secrets = append(secrets, s.Name)
	}
	if why == "" {
		p.put(at, nodes, secrets, images...)
	}
}

// template finds that of a kernelspec, if it has one.
func (p *planner) template(ks *v1alpha1.JupyterKernelSpec) (template *v1alpha1.JupyterKernelTemplate, ok bool) {
	name, err := podspec.TemplateOf(ks)
	if err != nil || name == "" {
		return nil, err == nil
	}
	i := slices.IndexFunc(p.from.Templates, func(t v1alpha1.JupyterKernelTemplate) bool { return t.Name == name })
	if i < 0 || p.from.Templates[i].Malformed() != nil {
		return nil, false
	}
	return &p.from.Templates[i], true
}

// nodesOf is the affinity of Pods that pull what needs devices, or why there is none.
func (p *planner) nodesOf(at place) (nodes *corev1.NodeSelector, why string) {
	if len(at.Devices) == 0 || p.from.Devices == nil && at.choosesNodes() {
		return at.Nodes, ""
	}
	devices := strings.Join(at.Devices, " and ")
	if p.from.Devices == nil {
		return nil, "nobody can tell which nodes have " + devices + ". Set kernels.clusterCapacity, or a nodeSelector in its template or in the policy."
	}
	names := nodesWith(at.Devices, p.from.Devices)
	if len(names) == 0 {
		return nil, "no node has " + devices + "."
	}
	return on(at.Nodes, names), ""
}

// plan puts everything in order: the service's image first, which all others wait for, then
// those of containers beside servers, those of servers, and those of kernels.
func (p *planner) plan() Plan {
	plan := Plan{Wanted: []imagestate.Wanted{}}
	for _, w := range p.wanted {
		slices.SortFunc(w.UsedBy, compareUses)
		slices.Sort(w.Why)
		plan.Wanted = append(plan.Wanted, *w)
	}
	compare := func(a, b *imagestate.Wanted) int {
		return cmp.Or(compareUses(a.UsedBy[0], b.UsedBy[0]), cmp.Compare(a.Image, b.Image))
	}
	slices.SortFunc(plan.Wanted, func(a, b imagestate.Wanted) int { return compare(&a, &b) })
	for _, one := range p.placements {
		slices.SortFunc(one.Images, func(a, b string) int { return compare(p.wanted[a], p.wanted[b]) })
		slices.Sort(one.PullSecrets)
		one.Images, one.PullSecrets = slices.Compact(one.Images), slices.Compact(one.PullSecrets)
		plan.Placements = append(plan.Placements, *one)
	}
	slices.SortFunc(plan.Placements, func(a, b Placement) int { return cmp.Compare(a.Key, b.Key) })
	return plan
}

func compareUses(a, b imagestate.Use) int {
	rank := func(u imagestate.Use) int {
		switch {
		case u.Service:
			return 0
		case u.Container != "": // those of them that are first are needed before the server's
			return 1
		case u.Channel != "":
			return 2
		default:
			return 3
		}
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Container, b.Container), cmp.Compare(a.KernelSpec, b.KernelSpec))
}
