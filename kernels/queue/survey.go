package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/recheck"
	"github.com/elastichub/elastichub/usage"
)

// survey is one look at everything that admission decides on.
type survey struct {
	reader client.Reader // of this pass
	input  admission.Input
	// kernels and wants are those of the requests, by UID.
	kernels map[string]*v1alpha1.JupyterKernel
	wants   map[string]admission.Resources
	// unasked are the users of requests of whom nothing is known yet, by the
	// request: they stand by what their servers started with, and are admitted
	// once that has been asked. before is what their servers started with.
	unasked map[string]string
	before  map[string][]string
	// gone are the requests whose users may have nothing any more.
	gone map[string]bool
	// members are the users of all that wait.
	members  map[string]bool
	policies []v1alpha1.GroupPolicy
	// waiting counts the queued kernels of each policy, the unresolved included.
	waiting map[string]int32
	oldest  time.Time
	pool    pool
	samples map[string]bool // of warm Pods, that were used
	// ready are the kernelspecs of which gateways keep some ready.
	ready map[ofGateway]bool
	// standings are those of budgets, once somebody has asked; nil: they are not known.
	standings *usage.Standings
	// again is when time alone will change something; zero means never.
	again time.Duration
}

// ofGateway is a kernelspec as a gateway offers it.
type ofGateway struct {
	gateway    types.NamespacedName
	kernelSpec string
}

// keepsReady reports whether kernels such as this one are kept ready.
func (s *survey) keepsReady(k *v1alpha1.JupyterKernel) bool {
	return s.ready[ofGateway{k.GatewayKey(), k.Spec.KernelSpec}]
}

// holderOf is the claim of a request, and of the warm Pod it is to have, if any.
func (s *survey) holderOf(id, warmPod string) admission.Holder {
	k := s.kernels[id]
	h := admission.Holder{ID: id, User: accountOf(k), Policies: k.Spec.Policies, Holds: s.wants[id], WarmPod: warmPod}
	if pod := s.pool.pods[warmPod]; pod != nil {
		h.Node = pod.Spec.NodeName
	}
	return h
}

// accountOf is who a kernel is accounted to: distinct for users, and for the
// notebooks and gateways of those who have none.
func accountOf(k *v1alpha1.JupyterKernel) string {
	switch {
	case k.Spec.User != "":
		return userAccount(k.Spec.User)
	case k.Spec.Notebook != "":
		return "notebook " + k.Namespace + "/" + k.Spec.Notebook
	default:
		return "gateway " + k.GatewayKey().String()
	}
}

// userAccount is one for all spellings that a directory takes for one person: a
// Hub that tells ALICE from alice gives them one quota.
func userAccount(user string) string { return "user " + strings.ToLower(user) }

func (a *admitter) survey(ctx context.Context) (*survey, error) {
	s := &survey{
		reader:  podspec.OnePass(a.client),
		unasked: map[string]string{}, before: map[string][]string{}, gone: map[string]bool{}, members: map[string]bool{},
		kernels: map[string]*v1alpha1.JupyterKernel{}, wants: map[string]admission.Resources{}, waiting: map[string]int32{},
		pool: pool{now: a.now(), pods: map[string]*corev1.Pod{}}, samples: map[string]bool{}, ready: map[ofGateway]bool{},
	}
	var kernels v1alpha1.JupyterKernelList
	if err := a.cfg.Scope.List(ctx, a.client, &kernels); err != nil {
		return nil, fmt.Errorf("kernels: list kernels: %w", err)
	}
	var pods corev1.PodList
	if err := a.cfg.Scope.List(ctx, a.client, &pods, podspec.Selector); err != nil {
		return nil, fmt.Errorf("kernels: list Pods: %w", err)
	}
	var policies v1alpha1.GroupPolicyList
	if err := a.client.List(ctx, &policies, client.InNamespace(a.cfg.Scope.Own())); err != nil {
		return nil, fmt.Errorf("kernels: list policies: %w", err)
	}
	s.policies = policies.Items
	s.input.Policies = map[string]admission.Policy{}
	for i := range policies.Items {
		s.input.Policies[policies.Items[i].Name] = PolicyOf(&policies.Items[i])
	}
	var nodes []Node
	if a.capacity != nil {
		var err error
		if nodes, err = a.capacity.Nodes(ctx); err != nil {
			return nil, err
		}
		s.input.Nodes = make([]admission.Node, 0, len(nodes))
		for _, p := range nodes {
			s.input.Nodes = append(s.input.Nodes, p.Node)
		}
	}
	var gateways v1alpha1.JupyterGatewayList
	if err := a.cfg.Scope.List(ctx, a.client, &gateways); err != nil {
		return nil, fmt.Errorf("kernels: list gateways: %w", err)
	}
	if err := a.fill(ctx, s, kernels.Items, pods.Items, nodes); err != nil {
		return nil, err
	}
	if err := a.targetsOf(ctx, s, gateways.Items, kernels.Items); err != nil {
		return nil, err
	}
	a.memory.recall(&s.pool)
	var again time.Duration
	s.input.WarmPods, s.input.Targets, again = s.pool.supply(nodes)
	s.lookAgain(again)
	return s, nil
}

// fill sorts kernels and Pods into holders and requests.
func (a *admitter) fill(ctx context.Context, s *survey, kernels []v1alpha1.JupyterKernel, pods []corev1.Pod, nodes []Node) error {
	exists, seen := map[string]bool{}, map[types.NamespacedName]bool{}
	living := map[string][]*corev1.Pod{} // by the UID of the kernel
	for i := range kernels {
		exists[string(kernels[i].UID)] = true
	}
	count := func(pod *corev1.Pod) {
		if podspec.IsWarm(pod) {
			s.pool.pods[podID(pod)] = pod
			return
		}
		if owner := metav1.GetControllerOf(pod); owner != nil && exists[string(owner.UID)] {
			living[string(owner.UID)] = append(living[string(owner.UID)], pod)
			return
		}
		s.input.Holders = append(s.input.Holders, a.podHolder(s, pod, nodes))
	}
	for i := range pods {
		seen[client.ObjectKeyFromObject(&pods[i])] = true
		if podstate.Alive(&pods[i]) {
			count(&pods[i])
		} else if podspec.IsWarm(&pods[i]) {
			s.pool.ended = append(s.pool.ended, &pods[i])
		}
		if podstate.Alive(&pods[i]) && podstate.Unschedulable(&pods[i]) && !podspec.IsWarm(&pods[i]) {
			s.pool.unschedulable = true
		}
	}
	a.assumed.Keep(func(id string) bool { return exists[id] })
	a.cfg.Pods.Keep(func(kernel types.UID) bool { return exists[string(kernel)] })
	for _, pod := range a.expected.unseen(seen) {
		if owner := metav1.GetControllerOf(pod); owner != nil && exists[string(owner.UID)] {
			continue // its status counts
		}
		count(pod)
	}
	s.pool.claimed = a.assumed.WarmPods()
	for i := range kernels {
		if st := kernels[i].Status; lifecycle.ClaimsWarmPod(st) {
			id := types.NamespacedName{Namespace: kernels[i].Namespace, Name: st.Warm}.String()
			s.pool.claimed[id] = true
			if pod := s.pool.pods[id]; pod != nil {
				living[string(kernels[i].UID)] = append(living[string(kernels[i].UID)], pod)
			}
		}
	}
	for i := range kernels {
		if err := a.sort(ctx, s, &kernels[i], living[string(kernels[i].UID)], nodes); err != nil {
			return err
		}
	}
	return nil
}

// sort makes a kernel a holder, a request, or neither.
func (a *admitter) sort(ctx context.Context, s *survey, k *v1alpha1.JupyterKernel, pods []*corev1.Pod, nodes []Node) error {
	id := string(k.UID)
	if claim, pending := a.assumed.Pending(id, func(version string) bool { return atLeast(k, version) }); pending {
		s.input.Holders = append(s.input.Holders, claim.Holder)
		return nil
	}
	if lifecycle.Counted(k.Status) || len(pods) > 0 {
		if derived, err := podspec.Derive(ctx, s.reader, k); err == nil {
			k = derived
		} else if podspec.IgnoreUnbuildable(err) != nil {
			return err
		}
		s.input.Holders = append(s.input.Holders, a.kernelHolder(s, k, pods, nodes))
		return nil
	}
	if k.Status.Phase != v1alpha1.KernelQueued || k.DeletionTimestamp != nil {
		return nil
	}
	s.waiting[firstPolicy(k.Spec.Policies)]++
	if since := k.Status.QueuedSince; since != nil && (s.oldest.IsZero() || since.Time.Before(s.oldest)) {
		s.oldest = since.Time
	}
	if k.WantedRun() > k.Status.Run {
		return nil // its next run is about to be queued
	}
	if t := k.Status.NotBefore; t != nil && t.After(a.now()) {
		s.lookAgain(t.Sub(a.now()))
		return nil
	}
	if meta.IsStatusConditionFalse(k.Status.Conditions, lifecycle.ConditionTaken) {
		return nil // its reconciler asks the cluster now and then
	}
	k, member, err := a.standing(ctx, s, k)
	if err != nil {
		return podspec.IgnoreUnbuildable(err) // the reconciler tells the user
	}
	built, err := a.cfg.Pods.BuildDerived(ctx, s.reader, k)
	if err != nil {
		return podspec.IgnoreUnbuildable(err)
	}
	r := admission.Request{
		ID: id, User: accountOf(k), Policies: k.Spec.Policies, KernelSpec: k.Spec.KernelSpec,
		Since: since(k), Priority: k.PriorityInQueue(), Wants: built.Extended, Returning: returning(k), Gone: member.gone, Unknown: member.unknown,
		Budget: a.budgetOf(s, k, built.Extended),
	}
	if a.capacity != nil && len(r.Wants) > 0 {
		r.Eligible = eligible(nodes, &built.Pod.Spec)
	}
	if len(s.pool.pods) > 0 {
		r.Class = built.Class()
	}
	s.kernels[id], s.wants[id] = k, r.Wants
	s.input.Requests = append(s.input.Requests, r)
	return nil
}

// standing is a waiting kernel as Derive has it, with the policies of its user
// as far as they are known, and what else is known of the user.
func (a *admitter) standing(ctx context.Context, s *survey, k *v1alpha1.JupyterKernel) (*v1alpha1.JupyterKernel, membership, error) {
	derived, err := podspec.Derive(ctx, s.reader, k)
	if err != nil || a.memberships == nil || !podspec.MadeByGateway(k) || k.Spec.Notebook == "" {
		return derived, membership{}, err
	}
	nb := &v1alpha1.JupyterNotebook{}
	if err := s.reader.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: k.Spec.Notebook}, nb); err != nil {
		return nil, membership{}, fmt.Errorf("kernels: notebook of a kernel: %w", err)
	}
	user := memberOf(derived, nb)
	if user == "" {
		return derived, membership{}, nil
	}
	id := string(k.UID)
	s.members[user], s.before[id] = true, derived.Spec.Policies
	known, ok := a.memberships.answer(user)
	switch {
	case !ok:
		s.unasked[id] = user
	case known.unknown != "":
		s.lookAgain(askAgain)
	case known.gone != "":
		s.gone[id] = true
	default:
		current := *derived
		current.Spec.Policies = known.policies
		derived = &current
	}
	return derived, known, nil
}

func since(k *v1alpha1.JupyterKernel) time.Time {
	if k.Status.QueuedSince != nil {
		return k.Status.QueuedSince.Time
	}
	return k.CreationTimestamp.Time
}

// returning reports whether a kernel has run before: it then queues where a new
// one would be refused.
func returning(k *v1alpha1.JupyterKernel) bool {
	if k.Status.Run <= 1 {
		return false
	}
	failed := meta.FindStatusCondition(k.Status.Conditions, lifecycle.ConditionFailed)
	return failed == nil || failed.Reason != refusedReason
}

// kernelHolder counts a kernel by its status, or by its Pods if they hold more.
func (a *admitter) kernelHolder(s *survey, k *v1alpha1.JupyterKernel, pods []*corev1.Pod, nodes []Node) admission.Holder {
	h := admission.Holder{ID: string(k.UID), User: accountOf(k), Policies: k.Spec.Policies, Holds: podspec.FromList(k.Status.Held)}
	for _, pod := range pods {
		for name, n := range podspec.Extended(&pod.Spec) {
			h.Holds[name] = max(h.Holds[name], n)
		}
		s.locate(&h, pod, nodes)
	}
	return h
}

// podHolder counts a Pod whose kernel is gone.
func (a *admitter) podHolder(s *survey, pod *corev1.Pod, nodes []Node) admission.Holder {
	h := admission.Holder{ID: "Pod " + string(pod.UID) + pod.Name, Holds: podspec.Extended(&pod.Spec)}
	switch {
	case pod.Annotations[v1alpha1.LabelHubUsername] != "":
		h.User = userAccount(pod.Annotations[v1alpha1.LabelHubUsername])
	default:
		h.User = "Pod " + podID(pod)
	}
	if err := json.Unmarshal([]byte(pod.Annotations[v1alpha1.AnnotationPolicies]), &h.Policies); err != nil {
		h.Policies = nil // not ours, or none: it counts against the nodes alone
	}
	s.locate(&h, pod, nodes)
	return h
}

func PolicyOf(p *v1alpha1.GroupPolicy) admission.Policy {
	k := p.Spec.Kernels
	policy := admission.Policy{
		Name: p.Name, Allowed: k.Allowed, GPUResource: k.GPUResource,
		GPUsPerKernel: int64(k.GPUsPerKernel), GPUsPerUser: int64(k.GPUsPerUser), PerUser: int64(k.PerUser),
		Refuse: k.AtLimit == v1alpha1.AtLimitRefuse, Weight: int64(k.Weight),
	}
	if policy.GPUResource == "" {
		policy.GPUResource = v1alpha1.DefaultGPUResource // as the CRD's default has it
	}
	if k.GPUPool != nil {
		pool := int64(*k.GPUPool)
		policy.GPUPool = &pool
	}
	return policy
}

func firstPolicy(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// location is where a Pod is, or may go.
type location struct {
	node          string
	eligible      func(node string) bool
	unschedulable bool
}

// locate tells where a Pod is, or may go; and for how long more the scheduler may
// look for a node for it. nodes is nil where they are not known.
func locate(now time.Time, pod *corev1.Pod, nodes []Node) (at location, left time.Duration) {
	if pod.Spec.NodeName != "" {
		return location{node: pod.Spec.NodeName}, 0
	}
	if nodes != nil {
		at.eligible = eligible(nodes, &pod.Spec)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse {
			continue
		}
		left = unschedulableAfter - now.Sub(c.LastTransitionTime.Time)
		at.unschedulable = left <= 0
	}
	return at, max(left, 0)
}

// locate notes where the Pod of a holder is, or may go.
func (s *survey) locate(h *admission.Holder, pod *corev1.Pod, nodes []Node) {
	at, left := locate(s.pool.now, pod, nodes)
	if at.node != "" {
		h.Node = at.node
		return
	}
	h.Eligible, h.Unschedulable = at.eligible, h.Unschedulable || at.unschedulable
	s.lookAgain(left)
}

// lookAgain asks for a pass after a time at the latest; zero asks for none.
func (s *survey) lookAgain(after time.Duration) {
	if after > 0 {
		s.again = recheck.Sooner(s.again, max(after, time.Second))
	}
}

// nameOfWarmPod is the name of the Pod of a warm Pod; empty for none.
func (s *survey) nameOfWarmPod(id string) string {
	if pod := s.pool.pods[id]; pod != nil {
		return pod.Name
	}
	return ""
}
