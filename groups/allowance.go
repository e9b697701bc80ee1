package groups

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrUnknownUser: every source answered, and none knows the user.
	ErrUnknownUser = errors.New("groups: unknown user")
	// ErrNoPolicy: the user is known, but no GroupPolicy matches their groups.
	ErrNoPolicy = errors.New("groups: no policy for this user")
	// ErrInvalidPolicy: the policy that decides for the user has faults. It is
	// not applied, and no lower one takes its place.
	ErrInvalidPolicy = errors.New("groups: invalid policy")
	// ErrUnavailable: a source that has to answer does not, and nothing young
	// enough is cached. Never turned into default rights.
	ErrUnavailable = errors.New("groups: directory unavailable")
	// ErrOneUser is an ErrUnavailable for one user, of whom a source says what
	// cannot be. It says nothing about how well the source is.
	ErrOneUser = fmt.Errorf("%w: this user's entries", ErrUnavailable)
)

// Group is one group of a user. DN is empty for sources without DNs.
type Group struct {
	Name string
	DN   string
	// Source names the sources that say so; a Combination sets it.
	Source string
}

// Membership is what a source says of a user, and how old the answer is.
type Membership struct {
	User   string
	Groups []Group
	Source string
	AsOf   time.Time
	// Stale is set when the source is down and a cached answer is used.
	Stale bool
	// Origins is what every source of a Combination said. Of these, Source
	// then names those that know the user, and AsOf is the oldest.
	Origins []Origin
}

// Source resolves a Hub user name to groups. It returns ErrUnknownUser,
// ErrSignInAgain or ErrUnavailable (wrapped) and honours the context's deadline.
type Source interface {
	Lookup(ctx context.Context, user string) (Membership, error)
}

// Allowance is what a user may have, with every default filled in.
type Allowance struct {
	// Policies that made it, the one of the highest priority first.
	Policies    []string
	DisplayName string
	HelpText    string
	Help        v1alpha1.PolicyHelp
	Groups      []Group
	// Source and AsOf say where the groups came from; Stale as in Membership.
	Source string
	AsOf   time.Time
	Stale  bool

	CPU     Range
	Memory  Range
	Images  []v1alpha1.ImageChannel
	Presets []v1alpha1.Preset

	NodeSelector      map[string]string
	Tolerations       []corev1.Toleration
	Affinity          *corev1.Affinity
	PriorityClassName string
	SchedulerName     string
	// ServiceAccountName is that of the first policy; its owner has to name that.
	ServiceAccountName string
	// ServiceAccountTokens are tokens of that account, and of the same policy.
	ServiceAccountTokens []v1alpha1.ServiceAccountToken
	ImagePullSecrets     []v1alpha1.PullSecret
	Storage              *v1alpha1.NotebookStorage
	Env                  []v1alpha1.PolicyEnv
	// Pod is what the Pods of servers have besides, nil for nothing.
	Pod *v1alpha1.PolicyPod

	// Kernels bounds kernels; its GPU fields are those of GPUs[0].
	Kernels v1alpha1.PolicyKernels
	// GPUs are the quotas by extended resource; empty if there are none.
	GPUs           []GPUQuota
	ServersPerUser int32
	// ServerIdleSeconds and MaxRunSeconds: 0 means never and for ever.
	ServerIdleSeconds int64
	MaxRunSeconds     int64
	// SnoozeMaxSeconds is how long in all an automatic stop may be put off by hand; nil: as
	// long as v1alpha1.SnoozeBound says.
	SnoozeMaxSeconds *int64
}

// GPUQuota is how much of one extended resource a user may hold.
type GPUQuota struct {
	Resource string
	// PerKernel and PerUser are more than zero.
	PerKernel, PerUser int32
	// Pool is shared by all members of Policy; nil means unlimited.
	Pool   *int32
	Policy string
}

// Range bounds a quantity: cpu in cores, memory in bytes. Every value on
// offer is Min plus a whole number of Steps, or Max.
type Range struct {
	Min, Max, Step, Default resource.Quantity
	// RequestRatio is the container's request over its limit, 0 to 1.
	RequestRatio float64
}
