package holdings

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// Objects are those of one namespace, which are not changed.
type Objects struct {
	Kernels     []v1alpha1.JupyterKernel
	Notebooks   []v1alpha1.JupyterNotebook
	KernelSpecs []v1alpha1.JupyterKernelSpec
	Pods        []corev1.Pod
}

// Kernel is one kernel, with or without a Pod.
type Kernel struct {
	ID string `json:"id"`
	// User whom it is accounted to; for a gateway's client, the client's name.
	User string `json:"user"`
	// Notebook is the name of the server's object, empty for other clients of a gateway.
	Notebook   string `json:"notebook,omitempty"`
	KernelSpec string `json:"kernelspec"`
	// Title is the kernelspec's for people.
	Title string `json:"title"`
	// Document is what is open in it.
	Document string `json:"document,omitempty"`

	Phase   v1alpha1.KernelPhase `json:"phase"`
	Cause   v1alpha1.KernelCause `json:"cause,omitempty"`
	Message string               `json:"message,omitempty"`
	Policy  string               `json:"policy,omitempty"`
	Node    string               `json:"node,omitempty"`

	// Devices are the extended resources that it holds or, while it waits, asks for.
	Devices map[string]int64 `json:"devices,omitempty"`
	Holds   bool             `json:"holds"`
	// CPU is requested, in cores, and Memory in bytes, by its Pod.
	CPU    float64 `json:"cpu,omitempty"`
	Memory int64   `json:"memory,omitempty"`

	Queue     *Place     `json:"queue,omitempty"`
	Moved     *Moved     `json:"moved,omitempty"`
	Created   time.Time  `json:"created"`
	Since     *time.Time `json:"since,omitempty"` // of the phase
	IdleSince *time.Time `json:"idle_since,omitempty"`
	ParkAt    *time.Time `json:"park_at,omitempty"`
	// SnoozedUntil is until when it is kept by hand although it is idle.
	SnoozedUntil *time.Time `json:"snoozed_until,omitempty"`
	// Kept is what is kept of its variables while it has no Pod; absent if nothing is.
	Kept *Kept `json:"kept,omitempty"`
	// Returns are the kernelspecs that it may return as; Of leaves them out.
	Returns []Choice `json:"returns,omitempty"`
	// Releasing and Ending: it was asked to park, or to end.
	Releasing bool `json:"releasing,omitempty"`
	Ending    bool `json:"ending,omitempty"`
}

// Choice is a kernelspec.
type Choice struct {
	Name string `json:"name"`
	// Title is its name for people.
	Title string `json:"title"`
	// Devices are the extended resources that such a kernel takes.
	Devices map[string]int64 `json:"devices,omitempty"`
}

// Kept are variables that come back with the kernel.
type Kept struct {
	// Whole: all of them are kept. Lost names some of those that are not.
	Whole     bool     `json:"whole"`
	Variables int32    `json:"variables"`
	Bytes     int64    `json:"bytes"`
	Lost      []string `json:"lost,omitempty"`
}

// Place is one in the queue.
type Place struct {
	// Position counts from 1.
	Position int32  `json:"position"`
	Length   int32  `json:"length"`
	Reason   string `json:"reason,omitempty"`
}

// Moved tells that a kernel was moved in the queue, to the front or to the end.
type Moved struct {
	// To is first or last. By and Reason are who did it and why, where that is known.
	To     string `json:"to"`
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// movedOf is nil for a kernel that has its turn.
func movedOf(k *v1alpha1.JupyterKernel) *Moved {
	m := &Moved{To: MovedFirst}
	switch priority := k.PriorityInQueue(); {
	case priority == 0:
		return nil
	case priority < 0:
		m.To = MovedLast
	}
	if told := k.Spec.QueueMove; told != nil {
		m.By, m.Reason = told.By, told.Reason
	}
	return m
}

// Where a kernel was moved.
const (
	MovedFirst = "first"
	MovedLast  = "last"
)

// Server is one notebook server.
type Server struct {
	// Name is its object's.
	Name string `json:"name"`
	User string `json:"user"`
	// Server is the Hub's name of it, empty for the default one.
	Server string `json:"server"`
	// DisplayName is how its user calls it, empty if by its name.
	DisplayName string                 `json:"display_name,omitempty"`
	Phase       v1alpha1.NotebookPhase `json:"phase"`
	Reason      string                 `json:"reason,omitempty"`
	Message     string                 `json:"message,omitempty"`
	Policy      string                 `json:"policy,omitempty"`
	Node        string                 `json:"node,omitempty"`
	Image       string                 `json:"image,omitempty"`
	// CPU and Memory are its limits, in cores and bytes.
	CPU          float64            `json:"cpu,omitempty"`
	Memory       int64              `json:"memory,omitempty"`
	Created      time.Time          `json:"created"`
	StartedAt    *time.Time         `json:"started_at,omitempty"`
	LastActivity *time.Time         `json:"last_activity,omitempty"`
	StopAt       *time.Time         `json:"stop_at,omitempty"`
	StopCause    v1alpha1.StopCause `json:"stop_cause,omitempty"`
	// SnoozedUntil is until when it is kept by hand although it is idle.
	SnoozedUntil *time.Time `json:"snoozed_until,omitempty"`
	// Stopped: it is stopped, or was asked to stop.
	Stopped bool `json:"stopped"`
	// Busy is what keeps a server that runs from being idle.
	Busy []Busy `json:"busy,omitempty"`
	// Orphan is set when the Hub does not know the server, or not that it runs.
	Orphan *Orphan `json:"orphan,omitempty"`

	// What is requested for it.
	cpuRequest    float64
	memoryRequest int64

	isOfHub bool
}

// Orphan is what v1alpha1.ConditionOrphan says.
type Orphan struct {
	// Reason is one of spawner/orphans.
	Reason string `json:"reason"`
	// Message is a sentence for people, which says what becomes of the server.
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

// Busy is something that keeps a server.
type Busy struct {
	// Kind is one of v1alpha1.BusyKernel and its kin, or another.
	Kind string `json:"kind"`
	// Name of it; of a kernel, its id.
	Name string `json:"name,omitempty"`
	// Title of a kernel for people; absent if it is one of the server's own.
	Title string     `json:"title,omitempty"`
	Since *time.Time `json:"since,omitempty"`
}

// Holdings are all that there is.
type Holdings struct {
	Kernels []Kernel
	Servers []Server

	pods      map[types.NamespacedName]*corev1.Pod
	notebooks map[string]*v1alpha1.JupyterNotebook
}

// Of makes holdings of objects.
func Of(o Objects) Holdings {
	h := Holdings{pods: make(map[types.NamespacedName]*corev1.Pod, len(o.Pods)), notebooks: make(map[string]*v1alpha1.JupyterNotebook, len(o.Notebooks))}
	for i := range o.Pods {
		h.pods[client.ObjectKeyFromObject(&o.Pods[i])] = &o.Pods[i]
	}
	specs := make(map[types.NamespacedName]*v1alpha1.JupyterKernelSpec, len(o.KernelSpecs))
	for i := range o.KernelSpecs {
		specs[client.ObjectKeyFromObject(&o.KernelSpecs[i])] = &o.KernelSpecs[i]
	}
	for i := range o.Kernels {
		h.Kernels = append(h.Kernels, h.kernel(&o.Kernels[i], specs[types.NamespacedName{Namespace: o.Kernels[i].GatewayKey().Namespace, Name: o.Kernels[i].Spec.KernelSpec}]))
	}
	titles := make(map[types.NamespacedName]string, len(o.Kernels))
	for i := range h.Kernels {
		titles[client.ObjectKeyFromObject(&o.Kernels[i])] = h.Kernels[i].Title
	}
	for i := range o.Notebooks {
		h.Servers = append(h.Servers, h.server(&o.Notebooks[i], titles))
		h.notebooks[o.Notebooks[i].Name] = &o.Notebooks[i]
	}
	return h
}

// kernel is one with its kernelspec, nil if there is none.
func (h Holdings) kernel(k *v1alpha1.JupyterKernel, spec *v1alpha1.JupyterKernelSpec) Kernel {
	s := k.Status
	v := Kernel{
		ID: k.Name, User: k.Spec.User, Notebook: k.Spec.Notebook, KernelSpec: k.Spec.KernelSpec, Title: k.Spec.KernelSpec,
		Phase: cmp.Or(s.Phase, v1alpha1.KernelQueued), Cause: s.Cause, Message: s.Message, Node: s.Node,
		Policy: first(s.Policies, k.Spec.Policies), Holds: len(s.Held) > 0, Created: k.CreationTimestamp.Time,
		IdleSince: at(s.IdleSince), ParkAt: at(s.ParkAt), SnoozedUntil: at(s.SnoozedUntil),
		Ending: k.DeletionTimestamp != nil || k.Spec.Shutdown != nil,
	}
	if k.Spec.Session != nil {
		v.Document = cmp.Or(k.Spec.Session.Path, k.Spec.Session.Name)
	}
	if spec != nil {
		v.Title = cmp.Or(spec.Spec.DisplayName, spec.Name)
	}
	v.Devices = devices(s.Held)
	if !v.Holds && v.Phase == v1alpha1.KernelQueued && spec != nil && spec.Spec.Resources != nil {
		v.Devices = devices(spec.Spec.Resources.Limits)
	}
	if pod := h.pods[types.NamespacedName{Namespace: k.Namespace, Name: s.PodName}]; pod != nil && s.Phase.HasPod() {
		v.CPU, v.Memory = requests(pod)
	}
	if s.Queue != nil {
		v.Queue = &Place{s.Queue.Position, s.Queue.Length, s.Queue.Reason}
	}
	switch v.Phase {
	case v1alpha1.KernelQueued:
		v.Moved = movedOf(k)
		if s.QueuedSince != nil {
			v.Since = &s.QueuedSince.Time
		}
	case v1alpha1.KernelStarting:
		v.Since = at(s.StartTime)
	case v1alpha1.KernelReady:
		v.Since = at(s.ReadyTime)
	case v1alpha1.KernelParked, v1alpha1.KernelDead:
		v.Since = at(s.CompletionTime)
	}
	if !v.Phase.HasPod() {
		v.Kept = keptOf(s.Kept)
	}
	if park := k.Spec.Park; park != nil {
		v.Releasing = park.Run == s.Run && !v.Phase.IsOver()
	}
	return v
}

// keptOf is nil where nothing is kept.
func keptOf(s *v1alpha1.KeptState) *Kept {
	if s == nil || s.Outcome != keptWhole && s.Outcome != keptPart {
		return nil
	}
	return &Kept{Whole: s.Outcome == keptWhole, Variables: s.Variables, Bytes: s.Bytes, Lost: s.Lost}
}

// Outcomes of a kernel's status.kept.
const (
	keptWhole = "whole"
	keptPart  = "part"
)

// server is one; titles are those of kernels.
func (h Holdings) server(nb *v1alpha1.JupyterNotebook, titles map[types.NamespacedName]string) Server {
	s := nb.Status
	v := Server{
		Name: nb.Name, User: nb.Spec.User, Server: nb.Spec.Server, DisplayName: nb.Annotations[v1alpha1.AnnotationDisplayName], Phase: cmp.Or(s.Phase, v1alpha1.NotebookPending),
		Reason: s.Reason, Message: s.Message, Created: nb.CreationTimestamp.Time, Stopped: nb.Spec.Stopped,
		StartedAt: at(s.StartTime), StopAt: at(s.StopEligibleAt), StopCause: s.StopCause, SnoozedUntil: at(s.SnoozedUntil),
		isOfHub: nb.IsOfHub(),
	}
	if nb.Spec.Stopped && v.Phase != v1alpha1.NotebookStopped {
		v.Phase = v1alpha1.NotebookStopping
	}
	if s.LastActivity != nil {
		v.LastActivity = &s.LastActivity.Time
	}
	if c := apimeta.FindStatusCondition(s.Conditions, v1alpha1.ConditionOrphan); c != nil && c.Status == metav1.ConditionTrue {
		v.Orphan = &Orphan{Reason: c.Reason, Message: c.Message, Since: c.LastTransitionTime.Time}
	}
	if v.Phase == v1alpha1.NotebookReady {
		for _, b := range s.Busy {
			v.Busy = append(v.Busy, Busy{Kind: b.Kind, Name: b.Name, Title: titles[types.NamespacedName{Namespace: nb.Namespace, Name: b.Name}], Since: at(b.Since)})
		}
	}
	if nb.Spec.KernelOptions != nil {
		v.Policy = first(nb.Spec.KernelOptions.Policies)
	}
	if nb.Spec.Template != nil {
		for _, c := range nb.Spec.Template.Spec.Containers {
			if c.Name == v1alpha1.NotebookContainer || len(nb.Spec.Template.Spec.Containers) == 1 {
				v.Image, v.CPU, v.Memory = c.Image, c.Resources.Limits.Cpu().AsApproximateFloat64(), c.Resources.Limits.Memory().Value()
			}
		}
	}
	v.cpuRequest, v.memoryRequest = v.CPU, v.Memory
	if pod := h.pods[types.NamespacedName{Namespace: nb.Namespace, Name: s.PodName}]; pod != nil && s.PodName != "" {
		v.Node = pod.Spec.NodeName
		v.cpuRequest, v.memoryRequest = requests(pod)
	}
	return v
}

// first is the first name of the first list that has any.
func first(lists ...[]string) string {
	for _, names := range lists {
		if len(names) > 0 {
			return names[0]
		}
	}
	return ""
}

func at(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	return &t.Time
}

// devices are the extended resources of a list; nil if there are none.
func devices(list corev1.ResourceList) map[string]int64 {
	var found map[string]int64
	for name, quantity := range list {
		if podrules.IsExtendedResource(name) && quantity.Sign() > 0 {
			if found == nil {
				found = map[string]int64{}
			}
			found[string(name)] = quantity.Value()
		}
	}
	return found
}

// requests of a Pod: what the scheduler keeps for it, but for init containers that end.
func requests(pod *corev1.Pod) (cpu float64, memory int64) {
	all := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all = append(all, c)
		}
	}
	for _, c := range all {
		cpu += c.Resources.Requests.Cpu().AsApproximateFloat64()
		memory += c.Resources.Requests.Memory().Value()
	}
	return cpu, memory
}

// Queue are the kernels that wait, in order.
func (h Holdings) Queue() []Kernel {
	var waiting []Kernel
	for _, k := range h.Kernels {
		if k.Phase == v1alpha1.KernelQueued {
			waiting = append(waiting, k)
		}
	}
	last := int32(1<<31 - 1) // of those whose place is not known yet
	place := func(k Kernel) int32 {
		if k.Queue == nil {
			return last
		}
		return k.Queue.Position
	}
	slices.SortFunc(waiting, func(a, b Kernel) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return waiting
}

// Device sums up one extended resource. Idle ones are held by kernels that do nothing.
type Device struct {
	Resource string `json:"resource"`
	// Total is that of the cluster, and Free what nobody has of it; absent where nobody
	// counts them. What is neither held nor free others than kernels have.
	Total   *int64 `json:"total,omitempty"`
	Free    *int64 `json:"free,omitempty"`
	Held    int64  `json:"held"`
	Busy    int64  `json:"busy"`
	Idle    int64  `json:"idle"`
	Waiting int64  `json:"waiting"`
}

// Sum is what belongs to one policy or node.
type Sum struct {
	// Name is empty for what belongs to none.
	Name    string           `json:"name"`
	Servers int              `json:"servers"`
	Kernels int              `json:"kernels"`
	CPU     float64          `json:"cpu"`
	Memory  int64            `json:"memory"`
	Devices map[string]int64 `json:"devices,omitempty"`
}

// Overview is the cluster at a glance.
type Overview struct {
	Devices []Device `json:"devices"`
	// Servers and Kernels run; Parked kernels have no Pod, Waiting ones are in the queue.
	Servers  int   `json:"servers"`
	Kernels  int   `json:"kernels"`
	Parked   int   `json:"parked"`
	Waiting  int   `json:"waiting"`
	Policies []Sum `json:"policies"`
	Nodes    []Sum `json:"nodes"`
}

// Capacity is what the cluster has of extended resources, in all and free, by name; empty
// where nobody counts them.
type Capacity struct{ Total, Free map[string]int64 }

// Overview sums up.
func (h Holdings) Overview(cluster Capacity) Overview {
	o := Overview{}
	byResource := map[string]*Device{}
	for resource, n := range cluster.Total {
		free := cluster.Free[resource]
		byResource[resource] = &Device{Resource: resource, Total: &n, Free: &free}
	}
	for _, k := range h.Kernels {
		o.count(k)
		for resource, n := range k.Devices {
			d := entry(byResource, resource)
			d.Resource = resource
			switch {
			case !k.Holds:
				d.Waiting += n
				continue
			case k.IdleSince != nil:
				d.Idle += n
			default:
				d.Busy += n
			}
			d.Held += n
		}
	}
	for _, s := range h.Servers {
		if s.runs() {
			o.Servers++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byResource)) {
		o.Devices = append(o.Devices, *byResource[name])
	}
	o.Policies = h.Sums(func(k Kernel) string { return k.Policy }, func(s Server) string { return s.Policy })
	o.Nodes = h.Sums(func(k Kernel) string { return k.Node }, func(s Server) string { return s.Node })
	return o
}

// Sums are what is held, by a name that kernels and servers have: that of their users, say.
func (h Holdings) Sums(ofKernel func(Kernel) string, ofServer func(Server) string) []Sum {
	sums := map[string]*Sum{}
	for _, k := range h.Kernels {
		if k.Holds || k.Phase.HasPod() {
			entry(sums, ofKernel(k)).addKernel(k)
		}
	}
	for _, s := range h.Servers {
		if s.runs() {
			entry(sums, ofServer(s)).addServer(s)
		}
	}
	return sorted(sums)
}

// runs tells that the server has a Pod, or is to have one.
func (s *Server) runs() bool {
	switch s.Phase {
	case v1alpha1.NotebookStarting, v1alpha1.NotebookReady, v1alpha1.NotebookStopping:
		return true
	case v1alpha1.NotebookPending, v1alpha1.NotebookStopped, v1alpha1.NotebookFailed:
	}
	return false
}

func (o *Overview) count(k Kernel) {
	switch k.Phase {
	case v1alpha1.KernelStarting, v1alpha1.KernelReady:
		o.Kernels++
	case v1alpha1.KernelParked:
		o.Parked++
	case v1alpha1.KernelQueued:
		o.Waiting++
	case v1alpha1.KernelDead:
	}
}

func (s *Sum) addKernel(k Kernel) {
	s.Kernels++
	s.CPU += k.CPU
	s.Memory += k.Memory
	if !k.Holds {
		return
	}
	for resource, n := range k.Devices {
		if s.Devices == nil {
			s.Devices = map[string]int64{}
		}
		s.Devices[resource] += n
	}
}

func (s *Sum) addServer(v Server) {
	s.Servers++
	s.CPU += v.cpuRequest
	s.Memory += v.memoryRequest
}

func entry[V any](in map[string]*V, key string) *V {
	if in[key] == nil {
		in[key] = new(V)
	}
	return in[key]
}

func sorted(sums map[string]*Sum) []Sum {
	all := make([]Sum, 0, len(sums))
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		sum := *sums[name]
		sum.Name = name
		all = append(all, sum)
	}
	return all
}
