package podspec

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// EnvKeepState is by what a client says that a kernel's state is not to be kept.
const EnvKeepState = "KERNEL_KEEP_STATE"

// Keep is how the state of a kernel is kept while it is parked.
type Keep struct {
	Enabled bool
	// IdleSeconds after which a kernel is parked if all of its state is kept; zero
	// or less: not before its idle time is over.
	IdleSeconds int64
	// MaxBytes that the state of one kernel may have; zero or less: any number.
	MaxBytes int64
	// TTL is how long the state of a parked kernel is kept.
	TTL time.Duration
	// OnYield is which kernels yield to others; empty: any.
	OnYield v1alpha1.OnYield
	// Home is where: the path of the home volume. It follows from the notebook.
	Home string
}

// wish is what a gateway or a policy says of keeping; nil fields say nothing.
type wish struct {
	enabled     *bool
	idleSeconds *int64
	maxBytes    *resource.Quantity
	ttl         *metav1.Duration
	onYield     v1alpha1.OnYield
}

func (w wish) over(k Keep) Keep {
	k.Enabled = ptr.Deref(w.enabled, k.Enabled)
	k.IdleSeconds = ptr.Deref(w.idleSeconds, k.IdleSeconds)
	if w.maxBytes != nil {
		k.MaxBytes = w.maxBytes.Value()
	}
	if w.ttl != nil && w.ttl.Duration > 0 {
		k.TTL = w.ttl.Duration
	}
	k.OnYield = cmp.Or(w.onYield, k.OnYield)
	return k
}

// yieldsWhole reports whether a kernel yields only if all of its state is kept.
func (k Keep) yieldsWhole() bool { return k.OnYield == v1alpha1.OnYieldWhole }

// KeepOf tells how a kernel's state is kept: by the first of policies, gateway and
// configuration that says it, each field by itself. It is not kept if a kernelspec
// or the client says so, where there is no home to keep it in, nor where an idle kernel
// is deleted: nobody comes back to it.
func KeepOf(cfg Config, in Parts) Keep {
	if in.Warm { // nobody has it, and there is nothing to keep
		return Keep{}
	}
	return keepOf(cfg, in)
}

// keepOf is KeepOf, and for a warm Pod how the state of a kernel would be kept that takes
// it: the Pod has room for that, and the agent is told.
func keepOf(cfg Config, in Parts) Keep {
	if !cfg.Keeps || in.Spec == nil || !ptr.Deref(in.Spec.Spec.Keep, true) || in.refuses() {
		return Keep{}
	}
	if in.Notebook == nil || in.Notebook.Spec.Storage == nil || in.Notebook.Spec.Storage.Home == nil {
		return Keep{}
	}
	if in.Gateway.Spec.OnIdle == v1alpha1.OnIdleDelete {
		return Keep{}
	}
	keep := cfg.Keep
	if g := in.Gateway.Spec.Keep; g != nil {
		keep = wish{g.Enabled, g.IdleSeconds, g.MaxBytes, g.TTL, ""}.over(keep)
	}
	for _, p := range slices.Backward(in.Policies) {
		if k := p.Spec.Kernels.Keep; k != nil {
			keep = wish{k.Enabled, k.IdleSeconds, k.MaxBytes, k.TTL, k.OnYield}.over(keep)
		}
	}
	if !keep.Enabled || keep.TTL <= 0 {
		return Keep{}
	}
	keep.Home = in.Notebook.Spec.Storage.Home.Path()
	return keep
}

// KeepTold is how the agent of a warm Pod, which a kernel has taken, is told to keep the
// kernel's state, but for the keys; false: it is not kept.
func (b *Builder) KeepTold(in Parts) (protocol.KeepState, bool) {
	keep := KeepOf(b.cfg, in)
	return protocol.KeepState{
		Kernel: in.Kernel.StateUID(), Run: runOf(in.Kernel), Loads: in.loads(),
		TTLSeconds: keep.TTL.Seconds(), MaxBytes: max(keep.MaxBytes, 0), YieldWhole: keep.yieldsWhole(),
	}, keep.Enabled
}

// loads is the run whose state the kernel's next run loads; 0: if any, the one before;
// -1: none.
func (in Parts) loads() int64 {
	if kept := in.Kernel.Status.Kept; kept != nil && kept.Outcome == string(protocol.KeptNone) {
		return -1
	}
	if kept := in.Kernel.Status.Kept; kept != nil && kept.Run > 0 && kept.Run < runOf(in.Kernel) {
		return kept.Run
	}
	return 0
}

// refuses reports whether the client wants nothing to be kept.
func (in Parts) refuses() bool {
	for _, v := range in.Kernel.Spec.Env {
		if v.Name == EnvKeepState {
			wanted, err := strconv.ParseBool(v.Value)
			return err == nil && !wanted
		}
	}
	return false
}
