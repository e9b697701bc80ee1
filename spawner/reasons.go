package spawner

import (
	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podtrouble"
)

// Reason is a word of the closed set that status.reason and conditions use.
type Reason = v1alpha1.Reason

// Why a notebook is in its phase.
const (
	// Pending: something it needs is missing, and may come.
	ReasonWaitingForEnvironment Reason = "WaitingForEnvironment"
	ReasonWaitingForCredentials Reason = "WaitingForCredentials"
	ReasonWaitingForVolume      Reason = "WaitingForVolume"
	ReasonWaitingForRemoval     Reason = "WaitingForRemoval"
	// ReasonQuotaExceeded and ReasonWebhookUnavailable: the cluster does not take the Pod now,
	// and may later.
	ReasonQuotaExceeded      Reason = podtrouble.PassingQuota
	ReasonWebhookUnavailable Reason = podtrouble.PassingWebhook
	// ReasonClusterError: the API server failed to write something that the server needs.
	ReasonClusterError Reason = "ClusterError"

	// Starting.
	ReasonCreating      Reason = "Creating"
	ReasonReplacing     Reason = "Replacing"
	ReasonUnschedulable Reason = "Unschedulable"
	ReasonPodStarting   Reason = "PodStarting"

	ReasonReady    Reason = "ServerReady"
	ReasonStopping Reason = "Stopping"
	ReasonStopped  Reason = "Stopped"

	// Stopped without anyone asking.
	ReasonStoppedIdle   Reason = "StoppedIdle"
	ReasonStoppedMaxRun Reason = "StoppedMaxRun"

	// Of the condition GatewayFound.
	ReasonFound           Reason = "Found"
	ReasonGatewayMissing  Reason = "GatewayMissing"
	ReasonGatewayNotReady Reason = "GatewayNotReady"

	// Of the condition CredentialsFound, which has ReasonFound, too.
	ReasonMoved         Reason = "Moved"
	ReasonSecretMissing Reason = "SecretMissing"
	ReasonKeyMissing    Reason = "KeyMissing"
	ReasonMovedMissing  Reason = "MovedSecretMissing"

	// Of the condition Answers.
	ReasonAnswers  Reason = "Answers"
	ReasonNoAnswer Reason = "NoAnswer"

	// Of the condition HomeAsAsked.
	ReasonClaimDiffers Reason = "ClaimDiffers"

	// Of the condition PrometheusAgrees.
	ReasonAgrees      Reason = "Agrees"
	ReasonNotMeasured Reason = "NotMeasured"
	ReasonKeptByQuery Reason = "KeptByQuery"
	ReasonKernelsRun  Reason = "KernelsRun"
	ReasonUsedLater   Reason = "UsedLater"

	// Of the condition HubInStep, and of events.
	ReasonNoHubAPI       Reason = "NoHubAPI"
	ReasonHubRefused     Reason = "HubRefused"
	ReasonHubUserGone    Reason = "HubUserGone"
	ReasonHubUnavailable Reason = "HubUnavailable"
	ReasonStartedByHub   Reason = "StartedByHub"

	// ReasonMadeAgain is of the condition PodTaken; while that is true, its reason is a podtrouble.Taking.
	ReasonMadeAgain Reason = "MadeAgain"

	// Of the condition ImageCurrent.
	ReasonImageCurrent    Reason = "Current"
	ReasonImageChanged    Reason = "NewVersion"
	ReasonImageRedirected Reason = "Redirected"
	ReasonImageWithdrawn  Reason = "Withdrawn"

	// Troubles of a Pod or its volume: Starting with that reason for a while, then Failed.
	ReasonImagePullFailed Reason = "ImagePullFailed"
	ReasonContainerConfig Reason = "ContainerConfigInvalid"
	ReasonCrashed         Reason = "Crashed"
	ReasonOutOfMemory     Reason = "OutOfMemory"
	ReasonPodRefused      Reason = "PodRefused"
	ReasonNoStorageClass  Reason = "NoStorageClass"

	// Failed before there was a Pod.
	ReasonRefused         Reason = "Refused"
	ReasonNameInvalid     Reason = "NameInvalid"
	ReasonNameTaken       Reason = "NameTaken"
	ReasonGatewayRefused  Reason = "GatewayRefused"
	ReasonTemplateRefused Reason = "TemplateRefused"
	ReasonStorageRefused  Reason = "StorageRefused"
	ReasonAccountRefused  Reason = "ServiceAccountRefused"
	ReasonAuthRefused     Reason = "AuthRefused"
	ReasonVolumeTaken     Reason = "VolumeTaken"
	ReasonTooManyServers  Reason = "TooManyServers"
)

// failureReasons are why a start fails, and otherReason stands for any other word.
var failureReasons = []Reason{
	ReasonImagePullFailed, ReasonContainerConfig, ReasonCrashed, ReasonOutOfMemory, ReasonPodRefused, ReasonNoStorageClass,
	ReasonRefused, ReasonNameInvalid, ReasonNameTaken, ReasonGatewayRefused, ReasonTemplateRefused, ReasonStorageRefused,
	ReasonAccountRefused, ReasonAuthRefused, ReasonVolumeTaken, ReasonTooManyServers, otherReason,
}

const otherReason Reason = "Other"

// Types of a notebook's conditions.
const (
	// ConditionReady mirrors the phase, for kubectl wait; see health.Set.
	ConditionReady = v1alpha1.ConditionReady
	// ConditionGateway reports whether the gateway that spec names exists, and
	// while the server starts, whether it is ready. A notebook that names none
	// does not have it.
	ConditionGateway = "GatewayFound"
	// ConditionEnvironment is false while a server of the Hub waits for the Secret with what
	// the Hub gives it; its transition time is since when.
	ConditionEnvironment = "EnvironmentFound"
	// ConditionCredentials says whether the token and the password that spec.auth
	// speaks of are there. A notebook without any does not have it.
	ConditionCredentials = "CredentialsFound"
	// ConditionTrouble is true while the Pod is in a trouble that becomes a
	// failure when it lasts; its transition time is when it began.
	ConditionTrouble = "Trouble"
	// ConditionAnswers is false while an idle server does not say when it was
	// last used. It is set once a server with an idle time was asked.
	ConditionAnswers = "Answers"
	// ConditionSignals is false while Prometheus does not agree that an idle server is idle.
	// It is set once it was asked.
	ConditionSignals = "PrometheusAgrees"
	// ConditionImage is false when the next start would offer another image
	// than the one that runs.
	ConditionImage = "ImageCurrent"
	// ConditionPodTaken is true while the Pod that a start had is taken away by others, and no other
	// is ready; after that it tells of the last time.
	ConditionPodTaken = "PodTaken"
	// ConditionHome is false while the home volume is not as spec has it, and cannot become so.
	ConditionHome = "HomeAsAsked"
	// ConditionHub is false when somebody else than the Hub wants one of its servers to run
	// and the Hub does not start it; the next start removes it.
	ConditionHub = "HubInStep"
)

// What servers lack that start all the same; GatewayFound has the first two.
const (
	ReasonNoKernelAllowed   Reason = "NoKernelAllowed"
	ReasonNoKernelOffered   Reason = "NoKernelOffered"
	ReasonKernelSpecMissing Reason = "KernelSpecMissing"
)
