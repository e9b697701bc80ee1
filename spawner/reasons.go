package spawner

// Reason is a word of the closed set that status.reason and conditions use.
type Reason string

// Why a notebook is in its phase.
const (
	// Pending: something it needs is missing, and may come.
	ReasonWaitingForGateway     Reason = "WaitingForGateway"
	ReasonWaitingForEnvironment Reason = "WaitingForEnvironment"
	ReasonWaitingForVolume      Reason = "WaitingForVolume"
	ReasonWaitingForRemoval     Reason = "WaitingForRemoval"

	// Starting.
	ReasonCreating      Reason = "Creating"
	ReasonReplacing     Reason = "Replacing"
	ReasonUnschedulable Reason = "Unschedulable"
	ReasonPodStarting   Reason = "PodStarting"

	ReasonFound    Reason = "Found"
	ReasonReady    Reason = "ServerReady"
	ReasonStopping Reason = "Stopping"
	ReasonStopped  Reason = "Stopped"

	// Troubles of a Pod: Starting with that reason for a while, then Failed.
	ReasonImagePullFailed Reason = "ImagePullFailed"
	ReasonContainerConfig Reason = "ContainerConfigInvalid"
	ReasonCrashed         Reason = "Crashed"
	ReasonOutOfMemory     Reason = "OutOfMemory"
	ReasonPodRefused      Reason = "PodRefused"

	// Failed before there was a Pod.
	ReasonRefused         Reason = "Refused"
	ReasonNameInvalid     Reason = "NameInvalid"
	ReasonNameTaken       Reason = "NameTaken"
	ReasonGatewayRefused  Reason = "GatewayRefused"
	ReasonTemplateRefused Reason = "TemplateRefused"
	ReasonStorageRefused  Reason = "StorageRefused"
	ReasonVolumeTaken     Reason = "VolumeTaken"
	ReasonTooManyServers  Reason = "TooManyServers"
)

// Types of a notebook's conditions.
const (
	// ConditionReady mirrors the phase, for kubectl wait.
	ConditionReady = "Ready"
	// ConditionGateway tells whether the gateway that spec names exists.
	ConditionGateway = "GatewayFound"
	// ConditionTrouble is true while the Pod is in a trouble that becomes a
	// failure when it lasts; its transition time is when it began.
	ConditionTrouble = "Trouble"
)
