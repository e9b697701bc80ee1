package v1alpha1

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// What holds unless an object says otherwise.
const (
	// DefaultHome is where a home volume is mounted.
	DefaultHome = "/home/jovyan"
	// DefaultGPUResource is what GPUs are counted in.
	DefaultGPUResource = "nvidia.com/gpu"
)

// HubServerPrefix begins the names of the Hub's servers. A notebook of such a name that is not the
// Hub's would keep the user whose it is from starting.
const HubServerPrefix = "jupyter-"

// PageOpenEvery is how often AnnotationPageOpen is written anew.
const PageOpenEvery = 10 * time.Minute

// KeptReady is what a gateway says about kernels that are kept ready, that of the
// default kernelspec first.
func (gw *JupyterGateway) KeptReady() []WarmKernel {
	var wanted []WarmKernel
	if gw.Spec.Warm > 0 {
		name := DefaultKernelName
		if len(gw.Spec.Kernels) > 0 {
			name = gw.Spec.Kernels[0]
		}
		if d := gw.Spec.DefaultKernel; d != nil && *d != "" {
			name = *d
		}
		wanted = append(wanted, WarmKernel{KernelSpec: name, Count: gw.Spec.Warm})
	}
	for _, more := range gw.Spec.WarmKernels {
		if more.Count > 0 {
			wanted = append(wanted, more)
		}
	}
	return wanted
}

// KeepsReady tells whether kernels of a kernelspec are kept ready.
func (gw *JupyterGateway) KeepsReady(kernelSpec string) bool {
	return slices.ContainsFunc(gw.KeptReady(), func(w WarmKernel) bool { return w.KernelSpec == kernelSpec })
}

// HasPod tells that a kernel in this phase has a Pod, or that one is being made.
func (p KernelPhase) HasPod() bool { return p == KernelStarting || p == KernelReady }

// IsOver tells that a kernel's run has ended in this phase; only another run
// gives it a Pod again.
func (p KernelPhase) IsOver() bool { return p == KernelParked || p == KernelDead }

// WantedRun is the run that spec asks for, the first if it names none.
func (k *JupyterKernel) WantedRun() int64 { return max(k.Spec.Run, 1) }

// PresentRun is the run that is asked for, or that there is if it is a later one.
func (k *JupyterKernel) PresentRun() int64 { return max(k.WantedRun(), k.Status.Run) }

// PriorityInQueue is the queuePriority that counts for the present run.
func (k *JupyterKernel) PriorityInQueue() int32 {
	if move := k.Spec.QueueMove; move != nil && move.Run != k.PresentRun() {
		return 0
	}
	return k.Spec.QueuePriority
}

// HasPodOrWaits tells that a kernel has a Pod, or is to have one.
func (k *JupyterKernel) HasPodOrWaits() bool {
	// A phase that is not written yet, or not known, is not over.
	return !k.Status.Phase.IsOver() || k.WantedRun() > k.Status.Run
}

// StartHasFailed tells that the start which spec names has failed for good:
// there is no Pod until spec changes. Only starts of a Hub end that way.
func (nb *JupyterNotebook) StartHasFailed() bool {
	s := nb.Status
	return nb.Spec.Start != "" && !nb.Spec.Stopped && s.Phase == NotebookFailed &&
		s.Start == nb.Spec.Start && s.ObservedGeneration == nb.Generation
}

// CountsAsRunning tells that a server runs or is to run, as the limit on
// servers counts it.
func (nb *JupyterNotebook) CountsAsRunning() bool {
	return !nb.Spec.Stopped && !nb.StartHasFailed() && nb.DeletionTimestamp == nil
}

// UsernameMark in a policy stands for the user: in the name of a home claim as a
// slug, in the value of a variable as it is.
const UsernameMark = "{username}"

// SafeUsernameMark and EscapedUsernameMark in the path of a static home stand for the user as
// KubeSpawner writes the name: from 7 on, and before that.
const (
	SafeUsernameMark    = "{safe_username}"
	EscapedUsernameMark = "{escaped_username}"
)

// ServernameMark in a policy stands for the server, whose name is empty for the default one.
const ServernameMark = "{servername}"

// Personal reports whether the value of the variable is another for each user.
func (e *PolicyEnv) Personal() bool { return strings.Contains(e.Value, UsernameMark) }

// For is the value of the variable for a user, empty if it comes from elsewhere.
func (e *PolicyEnv) For(user string) string { return strings.ReplaceAll(e.Value, UsernameMark, user) }

// HomeClaim is the name of a notebook's home claim, empty if it has none.
func (nb *JupyterNotebook) HomeClaim() string {
	if nb.Spec.Storage == nil || nb.Spec.Storage.Home == nil {
		return ""
	}
	home := nb.Spec.Storage.Home
	if home.Static != nil {
		return home.Static.Claim
	}
	return cmp.Or(home.Claim, DefaultHomeClaim(nb.Name))
}

// IsOfHub tells that a Hub makes, starts and deletes the notebook.
func (nb *JupyterNotebook) IsOfHub() bool { return nb.Spec.Start != "" }

// Address is where, inside the cluster, the notebook's server answers while it runs: a stop
// keeps it.
func (nb *JupyterNotebook) Address() string {
	scheme := "http"
	if nb.Spec.SSLSecret != "" {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s:%d", scheme, nb.Host(), NotebookPort)
}

// Host is the name of the notebook's Service, which its certificate has to name where it has one.
func (nb *JupyterNotebook) Host() string { return nb.Name + "." + nb.Namespace + ".svc" }

// DefaultHomeClaim is the home claim of a notebook that names none.
func DefaultHomeClaim(notebook string) string { return "home-" + notebook }

// Path is where a home volume is mounted, without needless parts.
func (h *HomeVolume) Path() string { return path.Clean(cmp.Or(h.MountPath, DefaultHome)) }

// OpenEnvironments reports whether one of the policies that allow a kernelspec lets its
// kernels be environments of their users' homes.
func OpenEnvironments(policies []GroupPolicy, kernelSpec string) bool {
	return slices.ContainsFunc(policies, func(p GroupPolicy) bool {
		k := &p.Spec.Kernels
		return k.OwnEnvironments != nil && *k.OwnEnvironments && slices.Contains(k.Allowed, kernelSpec)
	})
}
