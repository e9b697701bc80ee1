package protocol

import (
	"encoding/json"
	"time"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/skew"
)

// Port is where the agent of a Pod listens, for TLS.
const Port = 8443

// The calls of an agent, by path. All but Live and Ready want the bearer token of the run.
const (
	PathLive      = "/v1/live"      // GET: 200 while the kernel is to live, then 503
	PathReady     = "/readyz"       // GET: 200 once the kernel has answered, else 503
	PathState     = "/v1/state"     // GET: a State
	PathInterrupt = "/v1/interrupt" // POST
	PathRestart   = "/v1/restart"   // POST
	PathIdle      = "/v1/idle"      // PUT an IdleTimeout
	PathVariables = "/v1/variables" // PUT Variables
	PathKeep      = "/v1/keep"      // PUT a KeepState; since 4
	PathPark      = "/v1/park"      // POST a ParkRequest
	PathNotice    = "/v1/notice"    // PUT a Notice; since 5
	PathShutdown  = "/v1/shutdown"  // POST
	PathChannels  = "/v1/channels"  // GET: the WebSocket
	PathPorts     = "/v1/ports"     // GET: Ports; any method of PathPorts/<port>/…: to a server in the kernel's container
)

// LivePeriod is how often the kubelet asks PathLive.
const LivePeriod = 2 * time.Second

// HeaderProbe is how the kubelet says, in PathLive, that it is the one: with
// keys.Secret.Probe. The agent leaves only when the kubelet asks no more, and
// anybody else's questions must not keep it.
const HeaderProbe = "Elastichub-Probe"

// Version of what an agent speaks. Agents that say none speak 1.
const Version = 5

// State is the body of GET PathState.
type State struct {
	Protocol           int             `json:"protocol,omitempty"` // a Version; since 2
	Busy               bool            `json:"busy,omitempty"`     // it works; what executionState says may wait for a human. Since 2
	ExecutionState     wire.State      `json:"executionState"`
	LastActivity       Instant         `json:"lastActivity"`
	IdleSeconds        float64         `json:"idleSeconds"`
	IdleTimeoutSeconds float64         `json:"idleTimeoutSeconds"`
	Connections        int             `json:"connections"`
	Restarts           int             `json:"restarts"`
	KernelInfo         json.RawMessage `json:"kernelInfo,omitempty"` // content of a kernel_info_reply
	// KeepSeconds is the idle time after which the kernel is parked if all of its
	// state is kept; 0: it is not kept, or not before IdleTimeoutSeconds. Since 3.
	KeepSeconds float64 `json:"keepSeconds,omitempty"`
	// Unyielding: the kernel does not yield to whoever waits, since not all of its state
	// can be kept, and is to be. Since 4.
	Unyielding bool `json:"unyielding,omitempty"`
	// Came is absent before the kernel was there, and from agents that do not tell it.
	Came *Came `json:"came,omitempty"`
	// Meter is absent from agents that count nothing.
	*Meter
}

// Came is how the first process of the kernel came up, in seconds since the agent began, on
// the clock of Meter.
type Came struct {
	ProcessSeconds float64 `json:"processSeconds"` // it was started, once its container was there
	AnswerSeconds  float64 `json:"answerSeconds"`  // it answered
	ReadySeconds   float64 `json:"readySeconds"`   // it had its state, and clients got it
}

// Meter counts on the agent's monotonic clock, which no step of a wall clock moves.
type Meter struct {
	HeldSeconds float64 `json:"heldSeconds"` // since the agent began
	BusySeconds float64 `json:"busySeconds"` // of those, what the kernel was busy for
}

// Counts reports whether a meter is one: its numbers come from a Pod.
func (m *Meter) Counts() bool {
	return m != nil && m.BusySeconds >= 0 && m.HeldSeconds >= m.BusySeconds && m.HeldSeconds <= mostSeconds
}

// mostSeconds is more than any kernel lives; it fits a time.Duration.
const mostSeconds = 1e9

// Report is what the controllers ask of a State.
type Report struct {
	// Idle is for how long the kernel has been idle; a busy one: not at all.
	Idle time.Duration
	// Unyielding: it does not yield to whoever waits for what it holds.
	Unyielding bool
	// Meter is nil where the agent counts nothing.
	Meter *Meter
	// Told is what the agent tells of itself.
	Told skew.Told
}

// Instant is a time that is written as Jupyter writes it: RFC 3339, UTC, always
// with six fraction digits.
type Instant struct{ time.Time }

// MarshalJSON implements json.Marshaler. Any RFC 3339 time can be read.
func (i Instant) MarshalJSON() ([]byte, error) {
	return []byte(i.UTC().Format(`"2006-01-02T15:04:05.000000Z"`)), nil
}

// IdleTimeout is the body of PUT PathIdle.
type IdleTimeout struct {
	// TimeoutSeconds without work until the kernel is parked; zero or less: never.
	TimeoutSeconds *float64 `json:"timeoutSeconds"`
	// CullConnected: park also while a session is connected; absent: as before.
	CullConnected *bool `json:"cullConnected,omitempty"`
	// KeepSeconds without work until the kernel is parked if all of its state is
	// kept; zero or less: not before TimeoutSeconds; absent: as before. Since 3:
	// an older agent refuses what it does not know.
	KeepSeconds *float64 `json:"keepSeconds,omitempty"`
}

// IdleLimits are when a kernel is parked: what an IdleTimeout says, all of it.
type IdleLimits struct {
	// Long: after so much time without work, whatever becomes of its state; 0: never.
	Long time.Duration
	// Short: after so much, if all of its state is kept; 0: not before Long.
	Short         time.Duration
	CullConnected bool
}

// Body is what an agent of a version is told. Older ones know the long limit alone.
func (l IdleLimits) Body(version int) IdleTimeout {
	long, short := l.Long.Seconds(), l.Short.Seconds()
	body := IdleTimeout{TimeoutSeconds: &long, CullConnected: &l.CullConnected}
	if version >= 3 {
		body.KeepSeconds = &short
	}
	return body
}

// Variables is the body of PUT PathVariables: what the environment of the kernel is
// to have from now on, in the process that runs and in those that follow it.
type Variables struct {
	Variables map[string]string `json:"variables"`
	// Directory is where it is to run from now on. Since 4: an older agent refuses
	// what it does not know.
	Directory *Directory `json:"directory,omitempty"`
}

// VariablesBytes bounds names, values and paths together.
const VariablesBytes = 8 << 10

// Directory is where a kernel is to run, if that is a directory in one of Roots,
// whatever links lead there; else it stays where it is. Nothing is created.
type Directory struct {
	Path  string   `json:"path"`
	Roots []string `json:"roots"`
}

// KeepState is the body of PUT PathKeep: how the state of a kernel is kept that was made
// before it was somebody's. It is what EnvKeepKernel and its kin say of others.
type KeepState struct {
	Kernel     string   `json:"kernel"` // UID of the JupyterKernel
	Keys       []string `json:"keys"`   // in hexadecimal digits, the first is that of today
	Run        int64    `json:"run"`
	Loads      int64    `json:"loads"`
	TTLSeconds float64  `json:"ttlSeconds"`
	MaxBytes   int64    `json:"maxBytes"`
	// YieldWhole: the kernel yields only if all of its state is kept.
	YieldWhole bool `json:"yieldWhole,omitempty"`
}

// ParkRequest is the body of POST PathPark.
type ParkRequest struct {
	// IfIdleSeconds is how long the kernel has to have been idle.
	IfIdleSeconds *float64 `json:"ifIdleSeconds"`
	// ByHand: somebody gives back what the kernel holds, and nobody waits for it. Since 4:
	// an older agent refuses what it does not know.
	ByHand bool `json:"byHand,omitempty"`
	// Budget: a budget of the kernel's policy is spent; clients do not hold it then. Since 5.
	Budget bool `json:"budget,omitempty"`
	// Whole: only if all of the kernel's variables are kept. Since 5.
	Whole bool `json:"whole,omitempty"`
}

// Notice is the body of PUT PathNotice: what people are to read under the last cell of each
// session, or under the first that is run. Each text is shown once; an empty one takes back
// what was not shown yet.
type Notice struct {
	Text string `json:"text"`
}

// NoticeBytes bounds the text of a Notice.
const NoticeBytes = 2 << 10

// Ports is the body of GET PathPorts.
type Ports struct {
	Ports []int `json:"ports"` // on which something listens that may be reached, ascending
}

// Problem is the body of an error.
type Problem struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}
