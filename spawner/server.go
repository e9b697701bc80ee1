package spawner

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/internalssl"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotFound = errors.New("spawner: no such server")
	// ErrTooManyServers: the user runs as many servers as their policy allows.
	ErrTooManyServers = errors.New("spawner: too many servers")
	// ErrNotSynced: the state is not known yet; nothing may be concluded.
	ErrNotSynced = errors.New("spawner: state not known yet")
	// ErrRunning: what was asked for needs a stopped server.
	ErrRunning = errors.New("spawner: server runs")
)

// Key names a server: a Hub user and a server name, both unescaped; the
// default server's name is empty. Where HubUser is known it says who is meant, and
// User is only how they are called at the moment. Servers of two people never
// share an object.
type Key struct {
	User   string
	Server string
	// HubUser is nobody where the Hub is of a release that does not say it.
	HubUser HubUser
}

// Request is one start of a server, already checked against the allowance.
type Request struct {
	Key
	// Others are Hub users of today who are not the Key's: what is theirs is not
	// taken for a former home of the Key's user.
	Others []HubUser
	// Start identifies this start; a repeated request with the same Start
	// changes nothing.
	Start string
	// DisplayName is how the user calls the server, empty if by its name.
	DisplayName string
	// Env is the Hub's environment for the server, whole; Command and Args what it runs.
	Env map[string]string
	// SecretEnv are variables whose values Secrets of the namespace hold.
	SecretEnv []corev1.EnvVar
	Command   []string
	Args      []string
	// SSL is of a Hub with internal_ssl; nil: the server speaks HTTP.
	SSL *internalssl.Pair

	Image string
	// ImageChannel is the id of the policy's channel that Image came from.
	ImageChannel               string
	CPULimit, CPURequest       resource.Quantity
	MemoryLimit, MemoryRequest resource.Quantity
	NodeSelector               map[string]string
	Tolerations                []corev1.Toleration
	Affinity                   *corev1.Affinity
	PriorityClassName          string
	// SchedulerName is empty for the cluster's own.
	SchedulerName string
	// ServiceAccountName is checked against the first of KernelOptions.Policies.
	ServiceAccountName string
	// ServiceAccountTokens are tokens of that account.
	ServiceAccountTokens []v1alpha1.ServiceAccountToken
	ImagePullSecrets     []v1alpha1.PullSecret
	// Pod is what the Pod has besides; podrules finds no fault with it.
	Pod *v1alpha1.PolicyPod
	// Storage may have {username} in the name of the home claim, or in the path of a static home.
	Storage       *v1alpha1.NotebookStorage
	KernelOptions v1alpha1.KernelOptions
	// ServersPerUser below one means one.
	ServersPerUser int32
	// ServerIdleSeconds and MaxRunSeconds: 0 means never and for ever.
	ServerIdleSeconds int64
	MaxRunSeconds     int64
	// SnoozeMaxSeconds is IdleStop's.
	SnoozeMaxSeconds *int64
	// Options is the JSON of the choices, kept to prefill the next form.
	Options []byte
}

// State is what is known of a server.
type State struct {
	// Key has the names that the server was last started with.
	Key
	Start string
	Phase v1alpha1.NotebookPhase
	// URL is set while Ready: scheme, host and port inside the cluster.
	URL          string
	Reason       string
	Message      string
	LastActivity time.Time
	// StopEligibleAt is when the server will be stopped for StopCause; zero if
	// never, as far as is known.
	StopEligibleAt time.Time
	StopCause      v1alpha1.StopCause
	// AutoStop says why elastichub has stopped the server, or is about to; nil
	// if it has not.
	AutoStop *AutoStop
	// ImageNotice is a sentence, set when another image than the one that runs
	// is on offer.
	ImageNotice string
	// Options is the JSON of the last accepted choices, nil if none are known.
	Options []byte
}

// AutoStop is a stop that nobody asked for.
type AutoStop struct {
	Cause v1alpha1.StopCause
	// After is the limit that was reached: the idle time or the longest run.
	After time.Duration
	// At is zero if not known.
	At time.Time
	// KeepsFiles: the server has a home volume.
	KeepsFiles bool
}

// Event is one step of a start, in words for the person who waits.
type Event struct {
	// ID orders the events of one start; a reader resumes after the last one
	// it saw. Any replica gives the same event the same ID. One that only moves the
	// percentage has that of the event before, and no message.
	ID string
	// Progress is 0 to 100 and never falls within a start.
	Progress int
	Message  string
	Time     time.Time
	// Final is set on the last event: ready, failed or stopped.
	Final  bool
	Failed bool
}
