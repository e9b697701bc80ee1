package protocol

// The environment of an agent.
const (
	EnvKeyFile        = "ELASTICHUB_AGENT_KEY_FILE" // path of a file with the agent secret in hex
	EnvKernelID       = "ELASTICHUB_KERNEL_ID"
	EnvKernelName     = "ELASTICHUB_KERNEL_NAME"
	EnvIdleTimeout    = "ELASTICHUB_IDLE_TIMEOUT" // whole seconds; 0: never
	EnvCullConnected  = "ELASTICHUB_CULL_CONNECTED"
	EnvInterruptMode  = "ELASTICHUB_INTERRUPT_MODE" // an InterruptMode
	EnvGPUs           = "ELASTICHUB_GPUS"
	EnvTerminationLog = "ELASTICHUB_TERMINATION_LOG"
	EnvListen         = "ELASTICHUB_LISTEN"
	EnvSocket         = "ELASTICHUB_AGENT_SOCKET"       // where run-kernel is met
	EnvParkNotice     = "ELASTICHUB_PARK_NOTICE"        // whole seconds; 0: not announced
	EnvBusyCPU        = "ELASTICHUB_BUSY_CPU"           // cores; 0: computing is no work
	EnvBusyGPU        = "ELASTICHUB_BUSY_GPU"           // percent; 0: computing on GPUs is no work
	EnvIOPubMessages  = "ELASTICHUB_IOPUB_MESSAGE_RATE" // per second; 0: any number
	EnvIOPubBytes     = "ELASTICHUB_IOPUB_BYTE_RATE"    // per second; 0: any number
	EnvRequest        = "ELASTICHUB_AGENT_REQUEST"      // id, in the logs, of the request that asked for the run
)

// The environment of an agent that keeps its kernel's state.
const (
	EnvKeepKeyFile  = "ELASTICHUB_AGENT_KEEP_KEY_FILE"  // path of a file with keep keys; without it nothing is kept
	EnvKeepKernel   = "ELASTICHUB_AGENT_KEEP_KERNEL"    // UID of the JupyterKernel
	EnvKeepRun      = "ELASTICHUB_AGENT_KEEP_RUN"       // that this is, from 1
	EnvKeepLoads    = "ELASTICHUB_AGENT_KEEP_LOADS"     // the run whose state is loaded; 0: the one before; -1: none
	EnvKeepIdle     = "ELASTICHUB_AGENT_KEEP_IDLE"      // whole seconds; 0: not before EnvIdleTimeout
	EnvKeepMaxBytes = "ELASTICHUB_AGENT_KEEP_MAX_BYTES" // 0: any number
	EnvKeepTTL      = "ELASTICHUB_AGENT_KEEP_TTL"       // whole seconds
	// EnvKeepYieldWhole: true has the kernel yield only if all of its state is kept.
	EnvKeepYieldWhole = "ELASTICHUB_AGENT_KEEP_YIELD_WHOLE"

	EnvKeepLater = "ELASTICHUB_AGENT_KEEP_LATER" // true: none of these is known yet, PathKeep tells them
)

const (
	// EnvReservedPrefix begins the names that nobody else may set in a kernel's Pod.
	EnvReservedPrefix = "ELASTICHUB_"
	// EnvPrivatePrefix begins those of them that a kernel does not get to see.
	EnvPrivatePrefix = "ELASTICHUB_AGENT_"
)

// ConnectionFile, in the argv that run-kernel gets, stands for the path of the
// kernel's connection file.
const ConnectionFile = "{connection_file}"

// InterruptMode is how a kernel is interrupted, as kernelspecs name it.
type InterruptMode string

// The modes.
const (
	InterruptAuto    InterruptMode = "auto"    // message, then signal if that is not answered within a second
	InterruptMessage InterruptMode = "message" // interrupt_request on control
	InterruptSignal  InterruptMode = "signal"  // SIGINT to the kernel's process group
)
