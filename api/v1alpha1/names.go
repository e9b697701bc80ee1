package v1alpha1

// Labels and annotations that elastichub puts on what it creates. The
// hub.jupyter.org ones are those that JupyterHub dashboards and tools expect;
// label values are slugs, annotations of the same name hold the raw value.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelName      = "app.kubernetes.io/name"
	LabelComponent = "app.kubernetes.io/component"
	// LabelComponentShort is what jupyterhub/grafana-dashboards join on.
	LabelComponentShort = "component"

	LabelNotebook = "elastichub.io/notebook"
	LabelGateway  = "elastichub.io/gateway"
	LabelKernel   = "elastichub.io/kernel"
	// LabelGatewayNamespace is, on a gateway's Role in a namespace that it serves, where the
	// gateway is; AnnotationGateway says the same with its name.
	LabelGatewayNamespace = "elastichub.io/gateway-namespace"
	AnnotationGateway     = "elastichub.io/gateway"
	// LabelRun is the run number of a kernel Pod (JupyterKernelSpec.Run).
	LabelRun = "elastichub.io/run"

	// LabelHome is, on every Pod that mounts a home which one node can use at a time,
	// the name of its claim: such Pods are placed together.
	LabelHome = "elastichub.io/home"

	// LabelStaticHome is, on a ConfigMap that says whose a directory is which is a static home,
	// the name of the claim that it is in.
	LabelStaticHome = "elastichub.io/static-home"

	// LabelTaken is "true" on the Pod of a kernel that somebody has, unlike a warm one's.
	LabelTaken = "elastichub.io/taken"

	LabelHubUsername   = "hub.jupyter.org/username"
	LabelHubServername = "hub.jupyter.org/servername"
	LabelHubAccess     = "hub.jupyter.org/network-access-hub"

	// AnnotationPolicies keeps, on a kernel Pod, the policies it is accounted
	// to, as a JSON list of names.
	AnnotationPolicies = "elastichub.io/policies"
	// AnnotationStart names the start that a notebook Pod belongs to.
	AnnotationStart = "elastichub.io/start"
	// AnnotationDisplayName is, on a notebook of a Hub, how its user calls the server.
	AnnotationDisplayName = "elastichub.io/display-name"
	// AnnotationFormerStarts lists, on a notebook of a Hub, the starts before its own, newest
	// first: a request for one of them is late.
	AnnotationFormerStarts = "elastichub.io/former-starts"
	// AnnotationHubUser tells whose an object is by what a Hub never changes of a
	// user: "<id>@<when the user was made, RFC 3339>". It outlives every rename.
	AnnotationHubUser = "elastichub.io/hub-user"
	// LabelHubUserID is the id of AnnotationHubUser alone, to select by.
	LabelHubUserID = "elastichub.io/hub-user-id"
	// LabelAccount is, on a notebook, whose servers it counts among: the user's name,
	// one text for all spellings that differ by case alone.
	LabelAccount = "elastichub.io/account"
	// AnnotationClaimTemplate keeps, on a notebook and on its home claim, the name
	// of the claim as the policy writes it; empty for a claim of one server.
	AnnotationClaimTemplate = "elastichub.io/claim-template"
	// AnnotationAdopt is set by an administrator on a home claim or a notebook whose owner
	// cannot be told: the Hub user of this name gets it at the next start.
	AnnotationAdopt = "elastichub.io/adopt"
	// AnnotationOwnerLeft is when the Hub user of a home claim was deleted.
	AnnotationOwnerLeft = "elastichub.io/owner-left"
	// AnnotationUserGone is since when the Hub or the directory does not know any more who a
	// home claim was made for (RFC 3339).
	AnnotationUserGone = "elastichub.io/user-gone-since"
	// AnnotationArchived beside it is when an archive of the home was begun that is whole (RFC
	// 3339), and after a space the name of its file.
	AnnotationArchived = "elastichub.io/archived"
	// AnnotationOnRemoval on a home claim is HomeVolume.OnRemoval of the last start.
	AnnotationOnRemoval = "elastichub.io/on-removal"
	// AnnotationForPolicies is set by the owner of a ServiceAccount: which GroupPolicies
	// may have servers and kernels run as it, names with commas between them, or * for all.
	AnnotationForPolicies = "elastichub.io/for-policies"
	// AnnotationTokenAudiences is set by the owner of a ServiceAccount: whom servers and
	// kernels may have tokens of it for, audiences with commas between them.
	AnnotationTokenAudiences = "elastichub.io/token-audiences"
	// AnnotationOptions keeps the last accepted user options, as JSON.
	AnnotationOptions = "elastichub.io/options"
	// AnnotationGeneration on a notebook's Deployment is the generation of the
	// notebook that its Pod template was built from.
	AnnotationGeneration = "elastichub.io/generation"
	// AnnotationBuilt beside it is the spec that the Deployment was made with, and in which
	// generation of it: in another one, somebody has changed it.
	AnnotationBuilt = "elastichub.io/built"
	// AnnotationTriedAgain beside it is when its ReplicaSet was last made to try again to make a
	// Pod that the cluster had not taken (RFC 3339).
	AnnotationTriedAgain = "elastichub.io/tried-again"
	// AnnotationAuthVersion on a notebook's Pod changes when its auth Secret does.
	AnnotationAuthVersion = "elastichub.io/auth-version"
	// AnnotationMetricsPath on a notebook's Pod is the path of its server's metrics, for
	// who finds it by its Pod.
	AnnotationMetricsPath = "elastichub.io/metrics-path"
	// AnnotationStopCause on a stopped notebook says why it was stopped by another than
	// its owner, whose stop has none, and AnnotationStopTime when (RFC 3339).
	AnnotationStopCause = "elastichub.io/stop-cause"
	AnnotationStopTime  = "elastichub.io/stop-time"
	// AnnotationStartAsked on a stopped notebook of a Hub says that somebody wants it to run,
	// and since when (RFC 3339): the Hub is asked to start it.
	AnnotationStartAsked = "elastichub.io/start-asked"

	// AnnotationSnoozeUntil on a kernel or a notebook is until when somebody wants it kept
	// although it is idle (RFC 3339). How much of that is granted, status says.
	AnnotationSnoozeUntil = "elastichub.io/snooze-until"

	// AnnotationSafeToEvict and AnnotationDoNotDisrupt are those of the autoscalers
	// cluster-autoscaler and Karpenter.
	AnnotationSafeToEvict  = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	AnnotationDoNotDisrupt = "karpenter.sh/do-not-disrupt"

	// AnnotationIdle keeps, on a kernel's Pod, the rule that its agent follows.
	AnnotationIdle = "elastichub.io/idle"
	// AnnotationWarm keeps the class of a Pod that was made for the pool.
	AnnotationWarm = "elastichub.io/warm"
	// LabelWarmFor is, on a warm Pod that mounts the volumes of a notebook, the name of
	// that, and AnnotationWarmWhy says what it was chosen for.
	LabelWarmFor      = "elastichub.io/warm-for"
	AnnotationWarmWhy = "elastichub.io/warm-why"
	// AnnotationPageOpen on a parked kernel is when a page was seen last that has it
	// open (RFC 3339). Its gateway writes it, now and then, where kernels are kept warm.
	AnnotationPageOpen = "elastichub.io/page-open"
	// AnnotationInterrupted on a kernel is when a user interrupted it while it
	// was not running: every replica of its gateway then gives up the cells that
	// wait for it.
	AnnotationInterrupted = "elastichub.io/interrupted"
	// AnnotationRequest on a notebook or a kernel is the id, in the logs, of the request that
	// asked for its start or run.
	AnnotationRequest = "elastichub.io/request"
	// AnnotationTraceparent on the same is the span that it is part of, as W3C Trace Context
	// has it, if traces are recorded.
	AnnotationTraceparent = "elastichub.io/traceparent"
	// AnnotationRestoreAs on a kernel that had a Pod is what a copy of it needs that is made
	// from a backup, as JSON; see RestoreAs.
	AnnotationRestoreAs = "elastichub.io/restore-as"
	// AnnotationRelease on the definition of a kind is the release that it is of.
	AnnotationRelease = "elastichub.io/release"
	// AnnotationAgentKey on a kernel's Pod is the keyID of its gateway from whose key the secret of
	// its agent follows; none: that key was never rotated, or the agent is of a former release.
	AnnotationAgentKey = "elastichub.io/agent-key"
	// AnnotationCopiedFrom on the Secret with a gateway's key names the one of a former release
	// that has the same key and cannot be changed.
	AnnotationCopiedFrom = "elastichub.io/copied-from"
	// AnnotationSecretsRead on a Pod is changed when a Secret that it mounts was: the kubelet
	// then brings the files up to date at once.
	AnnotationSecretsRead = "elastichub.io/secrets-read"
	// AnnotationTokenPublicKey on a gateway's Pod is the key that a former release checked
	// tokens with.
	AnnotationTokenPublicKey = "elastichub.io/token-public-key"

	// VolumeSSL is the volume of a notebook's Pod with its key and certificates for internal SSL.
	VolumeSSL = "elastichub-ssl"
	// VolumeGatewayToken is the volume of a notebook's Pod with the token for its gateway.
	VolumeGatewayToken = "elastichub-gateway-token" //nolint:gosec // a name

	ManagedBy         = "elastichub"
	ComponentNotebook = "singleuser-server"
	ComponentKernel   = "kernel"
	ComponentGateway  = "kernel-gateway"
	ComponentHome     = "home" // of what says whose a static home is
	ComponentArchive  = "home-archive"
	AppName           = "jupyterhub"
	KernelContainer   = "kernel"
	AgentContainer    = "agent" // beside it, in Pods of kernels with a kernelspec
	NotebookContainer = "notebook"
	NotebookPort      = 8888
	GatewayPort       = 8888
	DefaultKernelName = "python_kubernetes"
)
