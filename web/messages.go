package web

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
)

// Messages is every text of the pages in one language.
type Messages struct {
	// Lang is the BCP 47 tag of the texts.
	Lang string
	tag  language.Tag
	texts
}

// texts are the keys of the files in languages/. A key that a file lacks, one
// that is not here, and a placeholder that English does not have are faults
// of the file. {n} chooses the plural form of a text that has several.
type texts struct {
	// Decimal stands between whole and fraction, ListSeparator between parts of a list.
	Decimal       message `json:"decimal"`
	ListSeparator message `json:"listSeparator"`

	OptionsFor       message `json:"optionsFor"`
	OptionsForServer message `json:"optionsForServer"`
	Faults           message `json:"faults"`
	Reset            message `json:"reset"`
	Stale            message `json:"stale"`
	ServersFull      message `json:"serversFull"`
	ServersRun       message `json:"serversRun"`

	StoppedIdle   message `json:"stoppedIdle"`
	StoppedMaxRun message `json:"stoppedMaxRun"`
	FilesKept     message `json:"filesKept"`
	// StoppedAt is what {at} of these two stands for, if the time is known.
	StoppedAt message `json:"stoppedAt"`

	Size           message `json:"size"`
	OwnSize        message `json:"ownSize"`
	OwnSizeHint    message `json:"ownSizeHint"`
	NumbersNote    message `json:"numbersNote"`
	PresetFault    message `json:"presetFault"`
	CPU            message `json:"cpu"`
	CPUUnit        message `json:"cpuUnit"`
	CPUAmount      message `json:"cpuAmount"`
	CPULive        message `json:"cpuLive"`
	CPULiveAll     message `json:"cpuLiveAll"`
	Memory         message `json:"memory"`
	MemoryUnit     message `json:"memoryUnit"`
	MemoryAmount   message `json:"memoryAmount"`
	MemoryLive     message `json:"memoryLive"`
	MemoryLiveAll  message `json:"memoryLiveAll"`
	RequestMeaning message `json:"requestMeaning"`
	Slider         message `json:"slider"`
	Bounds         message `json:"bounds"`
	Always         message `json:"always"`
	Steps          message `json:"steps"`

	FaultMissing   message `json:"faultMissing"`
	FaultBelow     message `json:"faultBelow"`
	FaultAbove     message `json:"faultAbove"`
	FaultStep      message `json:"faultStep"`
	FaultRepeated  message `json:"faultRepeated"`
	FaultMalformed message `json:"faultMalformed"`
	UnknownFault   message `json:"unknownFault"`
	OptionsFault   message `json:"optionsFault"`

	Image         message `json:"image"`
	HiddenChannel message `json:"hiddenChannel"`
	Redirect      message `json:"redirect"`
	ImageFault    message `json:"imageFault"`

	GPUKernels      message `json:"gpuKernels"`
	GPUKernelsIntro message `json:"gpuKernelsIntro"`
	// Kernels heads a list without GPUs.
	Kernels        message `json:"kernels"`
	KernelsIntro   message `json:"kernelsIntro"`
	NoKernels      message `json:"noKernels"`
	KernelGPUs     message `json:"kernelGPUs"`
	KernelNoGPU    message `json:"kernelNoGPU"`
	Returned       message `json:"returned"`
	Parked         message `json:"parked"`
	ReturnedIfKept message `json:"returnedIfKept"`
	ParkedIfKept   message `json:"parkedIfKept"`
	KeptOpen       message `json:"keptOpen"`
	GPUsPerUser    message `json:"gpusPerUser"`
	GPUPool        message `json:"gpuPool"`
	GPULimit       message `json:"gpuLimit"`
	GPUsFree       message `json:"gpusFree"`
	Seconds        message `json:"seconds"`
	Minutes        message `json:"minutes"`
	Hours          message `json:"hours"`
	Days           message `json:"days"`

	UnknownUser          message `json:"unknownUser"`
	NoPolicy             message `json:"noPolicy"`
	InvalidPolicy        message `json:"invalidPolicy"`
	SignInAgain          message `json:"signInAgain"`
	DirectoryUnavailable message `json:"directoryUnavailable"`

	// Of the console.
	ConsoleTitle      message `json:"consoleTitle"`
	ConsoleNav        message `json:"consoleNav"`
	NavMine           message `json:"navMine"`
	NavCluster        message `json:"navCluster"`
	NavKernels        message `json:"navKernels"`
	NavServers        message `json:"navServers"`
	NavPolicies       message `json:"navPolicies"`
	Skip              message `json:"skip"`
	SignOut           message `json:"signOut"`
	SignIn            message `json:"signIn"`
	AdminUnknown      message `json:"adminUnknown"`
	DoneReleased      message `json:"doneReleased"`
	DoneShutDown      message `json:"doneShutDown"`
	DoneStopped       message `json:"doneStopped"`
	DoneReturn        message `json:"doneReturn"`
	MineTitle         message `json:"mineTitle"`
	AllServers        message `json:"allServers"`
	AllKernels        message `json:"allKernels"`
	NoServers         message `json:"noServers"`
	NoOwnKernels      message `json:"noOwnKernels"`
	StartInHub        message `json:"startInHub"`
	DefaultServer     message `json:"defaultServer"`
	Open              message `json:"open"`
	Start             message `json:"start"`
	LogTitle          message `json:"logTitle"`
	LogEmpty          message `json:"logEmpty"`
	LogCut            message `json:"logCut"`
	LogGone           message `json:"logGone"`
	LogWaiting        message `json:"logWaiting"`
	LogSilent         message `json:"logSilent"`
	Move              message `json:"move"`
	MoveExplained     message `json:"moveExplained"`
	MoveTo            message `json:"moveTo"`
	MoveToFirst       message `json:"moveToFirst"`
	MoveToLast        message `json:"moveToLast"`
	MoveToTurn        message `json:"moveToTurn"`
	DoneMove          message `json:"doneMove"`
	MovedFirst        message `json:"movedFirst"`
	MovedLast         message `json:"movedLast"`
	MovedWhy          message `json:"movedWhy"`
	FaultNotWaiting   message `json:"faultNotWaiting"`
	Snooze            message `json:"snooze"`
	SnoozeExplained   message `json:"snoozeExplained"`
	DoneSnooze        message `json:"doneSnooze"`
	SnoozedFor        message `json:"snoozedFor"`
	StopServer        message `json:"stopServer"`
	StopOwnExplained  message `json:"stopOwnExplained"`
	StopExplained     message `json:"stopExplained"`
	Release           message `json:"release"`
	LeaveQueue        message `json:"leaveQueue"`
	ReleaseExplained  message `json:"releaseExplained"`
	QueueExplained    message `json:"queueExplained"`
	ReleaseForce      message `json:"releaseForce"`
	Return            message `json:"return"`
	ReturnExplained   message `json:"returnExplained"`
	ReturnAs          message `json:"returnAs"`
	ShutDown          message `json:"shutDown"`
	ShutDownExplained message `json:"shutDownExplained"`
	Reason            message `json:"reason"`
	ReasonHint        message `json:"reasonHint"`
	PhaseQueued       message `json:"phaseQueued"`
	PhaseStarting     message `json:"phaseStarting"`
	PhaseBusy         message `json:"phaseBusy"`
	PhaseIdle         message `json:"phaseIdle"`
	PhaseParked       message `json:"phaseParked"`
	PhaseDead         message `json:"phaseDead"`
	ServerPending     message `json:"serverPending"`
	ServerStarting    message `json:"serverStarting"`
	ServerReady       message `json:"serverReady"`
	ServerStopping    message `json:"serverStopping"`
	ServerStopped     message `json:"serverStopped"`
	ServerFailed      message `json:"serverFailed"`
	ServerOrphan      message `json:"serverOrphan"`
	IdleFor           message `json:"idleFor"`
	ParkIn            message `json:"parkIn"`
	ParkSoon          message `json:"parkSoon"`
	PlaceInQueue      message `json:"placeInQueue"`
	WaitsFor          message `json:"waitsFor"`
	ParkedFor         message `json:"parkedFor"`
	StopIfIdle        message `json:"stopIfIdle"`
	StopAtMax         message `json:"stopAtMax"`
	LastUsed          message `json:"lastUsed"`
	KeptBy            message `json:"keptBy"`
	KeptBySince       message `json:"keptBySince"`
	KeptByMore        message `json:"keptByMore"`
	BusyKernel        message `json:"busyKernel"`
	BusyTerminal      message `json:"busyTerminal"`
	BusyProcess       message `json:"busyProcess"`
	KeptWhole         message `json:"keptWhole"`
	KeptPart          message `json:"keptPart"`
	Releasing         message `json:"releasing"`
	Ending            message `json:"ending"`
	HoldsDevices      message `json:"holdsDevices"`
	AsksDevices       message `json:"asksDevices"`
	ClusterTitle      message `json:"clusterTitle"`
	Total             message `json:"total"`
	Held              message `json:"held"`
	Busy              message `json:"busy"`
	Idle              message `json:"idle"`
	Free              message `json:"free"`
	Waiting           message `json:"waiting"`
	NoDevices         message `json:"noDevices"`
	BarText           message `json:"barText"`
	RunningServers    message `json:"runningServers"`
	RunningKernels    message `json:"runningKernels"`
	ParkedKernels     message `json:"parkedKernels"`
	WaitingKernels    message `json:"waitingKernels"`
	QueueTitle        message `json:"queueTitle"`
	QueueEmpty        message `json:"queueEmpty"`
	QueueAll          message `json:"queueAll"`
	ByPolicy          message `json:"byPolicy"`
	ByNode            message `json:"byNode"`
	NothingHeld       message `json:"nothingHeld"`
	WithoutPolicy     message `json:"withoutPolicy"`
	WithoutNode       message `json:"withoutNode"`
	CPURequested      message `json:"cpuRequested"`
	MemoryRequested   message `json:"memoryRequested"`
	Devices           message `json:"devices"`
	ColUser           message `json:"colUser"`
	ColServer         message `json:"colServer"`
	ColKernel         message `json:"colKernel"`
	ColState          message `json:"colState"`
	ColNode           message `json:"colNode"`
	ColPolicy         message `json:"colPolicy"`
	ColDocument       message `json:"colDocument"`
	ColPlace          message `json:"colPlace"`
	ColWhy            message `json:"colWhy"`
	ColSince          message `json:"colSince"`
	ColUsed           message `json:"colUsed"`
	Made              message `json:"made"`
	Search            message `json:"search"`
	AnyState          message `json:"anyState"`
	Show              message `json:"show"`
	ShowAll           message `json:"showAll"`
	RowsFound         message `json:"rowsFound"`
	NextPage          message `json:"nextPage"`
	FirstPage         message `json:"firstPage"`
	NothingFound      message `json:"nothingFound"`
	Scrollable        message `json:"scrollable"`
	TimeAgo           message `json:"timeAgo"`
	EventsTitle       message `json:"eventsTitle"`
	NoEvents          message `json:"noEvents"`
	EventsUnknown     message `json:"eventsUnknown"`
	PoliciesTitle     message `json:"policiesTitle"`
	NoPolicies        message `json:"noPolicies"`
	ColGroups         message `json:"colGroups"`
	ColPriority       message `json:"colPriority"`
	ColSize           message `json:"colSize"`
	ColRunning        message `json:"colRunning"`
	EverybodyElse     message `json:"everybodyElse"`
	OfPerUser         message `json:"ofPerUser"`
	GpusOfPool        message `json:"gpusOfPool"`
	GpusNoPool        message `json:"gpusNoPool"`
	GpusPer           message `json:"gpusPer"`
	NoGPUs            message `json:"noGPUs"`
	PolicyFault       message `json:"policyFault"`
	// Of policies and their form.
	PolicyNew         message `json:"policyNew"`
	PolicyEdit        message `json:"policyEdit"`
	PolicyCopy        message `json:"policyCopy"`
	PolicyDelete      message `json:"policyDelete"`
	PolicyEditOf      message `json:"policyEditOf"`
	PolicyUse         message `json:"policyUse"`
	DirectoryTitle    message `json:"directoryTitle"`
	DirectoryNoList   message `json:"directoryNoList"`
	DirectoryDown     message `json:"directoryDown"`
	DirectoryMore     message `json:"directoryMore"`
	DirectoryFind     message `json:"directoryFind"`
	DirectoryUnnamed  message `json:"directoryUnnamed"`
	DirectoryAll      message `json:"directoryAll"`
	ColMembers        message `json:"colMembers"`
	ColPolicies       message `json:"colPolicies"`
	NamedNowhere      message `json:"namedNowhere"`
	MembersMore       message `json:"membersMore"`
	ExplainTitle      message `json:"explainTitle"`
	ExplainOf         message `json:"explainOf"`
	ExplainShow       message `json:"explainShow"`
	ExplainGroups     message `json:"explainGroups"`
	ExplainNoGroups   message `json:"explainNoGroups"`
	ExplainPolicies   message `json:"explainPolicies"`
	ExplainValues     message `json:"explainValues"`
	ExplainForm       message `json:"explainForm"`
	ExplainNothing    message `json:"explainNothing"`
	ClaimNone         message `json:"claimNone"`
	ClaimFaults       message `json:"claimFaults"`
	ClaimBlocked      message `json:"claimBlocked"`
	ClaimTogether     message `json:"claimTogether"`
	ClaimHighest      message `json:"claimHighest"`
	ClaimDefault      message `json:"claimDefault"`
	ClaimBehind       message `json:"claimBehind"`
	ColField          message `json:"colField"`
	ColValue          message `json:"colValue"`
	ColFrom           message `json:"colFrom"`
	ColTogether       message `json:"colTogether"`
	PartWho           message `json:"partWho"`
	PartServer        message `json:"partServer"`
	PartKernels       message `json:"partKernels"`
	PartRest          message `json:"partRest"`
	EditName          message `json:"editName"`
	EditNameHint      message `json:"editNameHint"`
	EditDisplayName   message `json:"editDisplayName"`
	EditGroups        message `json:"editGroups"`
	EditDefault       message `json:"editDefault"`
	EditPriority      message `json:"editPriority"`
	EditPriorityHint  message `json:"editPriorityHint"`
	EditMin           message `json:"editMin"`
	EditMax           message `json:"editMax"`
	EditStep          message `json:"editStep"`
	EditChosen        message `json:"editChosen"`
	EditRatio         message `json:"editRatio"`
	EditAmount        message `json:"editAmount"`
	EditCPUHint       message `json:"editCPUHint"`
	EditMemoryHint    message `json:"editMemoryHint"`
	EditServers       message `json:"editServers"`
	EditServerIdle    message `json:"editServerIdle"`
	EditServerRun     message `json:"editServerRun"`
	EditAllowed       message `json:"editAllowed"`
	EditResource      message `json:"editResource"`
	EditPerKernel     message `json:"editPerKernel"`
	EditPerUser       message `json:"editPerUser"`
	EditPool          message `json:"editPool"`
	EditKernels       message `json:"editKernels"`
	EditAtLimit       message `json:"editAtLimit"`
	EditQueue         message `json:"editQueue"`
	EditRefuse        message `json:"editRefuse"`
	EditAsDefault     message `json:"editAsDefault"`
	EditKernelIdle    message `json:"editKernelIdle"`
	EditKernelRun     message `json:"editKernelRun"`
	EditWeight        message `json:"editWeight"`
	EditHelp          message `json:"editHelp"`
	EditRest          message `json:"editRest"`
	EditRestHint      message `json:"editRestHint"`
	EditEmpty         message `json:"editEmpty"`
	PickTitle         message `json:"pickTitle"`
	PickHint          message `json:"pickHint"`
	PickNone          message `json:"pickNone"`
	ReviewButton      message `json:"reviewButton"`
	ReviewTitle       message `json:"reviewTitle"`
	ReviewNone        message `json:"reviewNone"`
	ReviewBack        message `json:"reviewBack"`
	ReviewSave        message `json:"reviewSave"`
	ReviewReason      message `json:"reviewReason"`
	ReviewNoReason    message `json:"reviewNoReason"`
	ColOld            message `json:"colOld"`
	ColNew            message `json:"colNew"`
	ChangedMeanwhile  message `json:"changedMeanwhile"`
	ChangedTheirs     message `json:"changedTheirs"`
	ChangedYours      message `json:"changedYours"`
	PolicyGone        message `json:"policyGone"`
	EditFaults        message `json:"editFaults"`
	ProblemNumber     message `json:"problemNumber"`
	ProblemYAML       message `json:"problemYAML"`
	ProblemTwice      message `json:"problemTwice"`
	ProblemTaken      message `json:"problemTaken"`
	PolicyManaged     message `json:"policyManaged"`
	YAMLTitle         message `json:"yamlTitle"`
	AffectedTitle     message `json:"affectedTitle"`
	AffectedNobody    message `json:"affectedNobody"`
	AffectedSome      message `json:"affectedSome"`
	AffectedMore      message `json:"affectedMore"`
	ColOthers         message `json:"colOthers"`
	AffectedDefault   message `json:"affectedDefault"`
	AffectedNothing   message `json:"affectedNothing"`
	DeleteTitle       message `json:"deleteTitle"`
	DeleteExplained   message `json:"deleteExplained"`
	DonePolicySaved   message `json:"donePolicySaved"`
	DonePolicyDeleted message `json:"donePolicyDeleted"`
	FaultReadOnly     message `json:"faultReadOnly"`
	Members           message `json:"members"`
	// End of these.
	RequestID          message `json:"requestID"`
	Again              message `json:"again"`
	SignedOutTitle     message `json:"signedOutTitle"`
	SignedOutText      message `json:"signedOutText"`
	SignOutOfHub       message `json:"signOutOfHub"`
	FaultTitle         message `json:"faultTitle"`
	FaultNotAllowed    message `json:"faultNotAllowed"`
	FaultCrossSite     message `json:"faultCrossSite"`
	FaultSignIn        message `json:"faultSignIn"`
	FaultProvider      message `json:"faultProvider"`
	FaultNoRoute       message `json:"faultNoRoute"`
	FaultNoAdmin       message `json:"faultNoAdmin"`
	FaultNotFound      message `json:"faultNotFound"`
	FaultConflict      message `json:"faultConflict"`
	FaultNotRunning    message `json:"faultNotRunning"`
	FaultRunning       message `json:"faultRunning"`
	FaultNotOwner      message `json:"faultNotOwner"`
	FaultNotOffered    message `json:"faultNotOffered"`
	FaultNothingToKeep message `json:"faultNothingToKeep"`
	FaultSnoozeUsedUp  message `json:"faultSnoozeUsedUp"`
	FaultNoReason      message `json:"faultNoReason"`
	FaultUnreadable    message `json:"faultUnreadable"`
	FaultInternal      message `json:"faultInternal"`
	FaultBusy          message `json:"faultBusy"`
	NavHours           message `json:"navHours"`
	NavMyHours         message `json:"navMyHours"`
	HoursTitle         message `json:"hoursTitle"`
	MyHoursTitle       message `json:"myHoursTitle"`
	HoursOf            message `json:"hoursOf"`
	Period             message `json:"period"`
	Today              message `json:"today"`
	Months             message `json:"months"`
	Resource           message `json:"resource"`
	CPUHours           message `json:"cpuHours"`
	MemoryHours        message `json:"memoryHours"`
	HoursHeld          message `json:"hoursHeld"`
	HoursBusy          message `json:"hoursBusy"`
	HoursSaved         message `json:"hoursSaved"`
	HeldIdle           message `json:"heldIdle"`
	BusyShare          message `json:"busyShare"`
	Cost               message `json:"cost"`
	Runs               message `json:"runs"`
	ColDate            message `json:"colDate"`
	TableBy            message `json:"tableBy"`
	DownloadCSV        message `json:"downloadCSV"`
	NoHours            message `json:"noHours"`
	GatewayClient      message `json:"gatewayClient"`
	PlotBar            message `json:"plotBar"`
	PlotText           message `json:"plotText"`
	HoursMeaning       message `json:"hoursMeaning"`
	HeldMeaning        message `json:"heldMeaning"`
	BusyMeaning        message `json:"busyMeaning"`
	SavedMeaning       message `json:"savedMeaning"`
	HoursNote          message `json:"hoursNote"`
	HoursEstimated     message `json:"hoursEstimated"`
	Budgets            message `json:"budgets"`
	BudgetName         message `json:"budgetName"`
	BudgetUser         message `json:"budgetUser"`
	BudgetMine         message `json:"budgetMine"`
	BudgetGroup        message `json:"budgetGroup"`
	BudgetRolling      message `json:"budgetRolling"`
	BudgetDay          message `json:"budgetDay"`
	BudgetWeek         message `json:"budgetWeek"`
	BudgetMonth        message `json:"budgetMonth"`
	BudgetUsed         message `json:"budgetUsed"`
	BudgetMost         message `json:"budgetMost"`
	BudgetAgain        message `json:"budgetAgain"`
	BudgetLow          message `json:"budgetLow"`
	ImagesTitle        message `json:"imagesTitle"`
	ImagesUnknown      message `json:"imagesUnknown"`
	NoImages           message `json:"noImages"`
	ColImage           message `json:"colImage"`
	ColUsedBy          message `json:"colUsedBy"`
	ColNodes           message `json:"colNodes"`
	ImageSize          message `json:"imageSize"`
	ImageChannel       message `json:"imageChannel"`
	ImageContainer     message `json:"imageContainer"`
	ImageKernel        message `json:"imageKernel"`
	ImageService       message `json:"imageService"`
	ImageNodes         message `json:"imageNodes"`
	ImagePresent       message `json:"imagePresent"`
	ImagePulling       message `json:"imagePulling"`
	ImageWaiting       message `json:"imageWaiting"`
	ImageFailing       message `json:"imageFailing"`
	ImageNowhere       message `json:"imageNowhere"`
	BudgetSpent        message `json:"budgetSpent"`
	BudgetNote         message `json:"budgetNote"`
	EditBudget         message `json:"editBudget"`
	EditBudgetHint     message `json:"editBudgetHint"`
	EditOnBudget       message `json:"editOnBudget"`
	OnBudgetDefault    message `json:"onBudgetDefault"`
	OnBudgetWhole      message `json:"onBudgetWhole"`
	OnBudgetAny        message `json:"onBudgetAny"`
	OnBudgetForce      message `json:"onBudgetForce"`
	OnBudgetNone       message `json:"onBudgetNone"`
	ProblemBudget      message `json:"problemBudget"`
}

// say fills a text in; pairs are names of placeholders and their values.
func (m *Messages) say(t message, pairs ...string) string { return fill(t.plain(), pairs...) }

// count fills a text in whose grammar follows the number n, a plain decimal.
func (m *Messages) count(t message, n string, pairs ...string) string {
	return fill(t.forNumber(m.tag, n), append(pairs, "n", m.number(n))...)
}

// number is a plain decimal as the language writes it.
func (m *Messages) number(n string) string {
	return strings.Replace(n, ".", m.Decimal.plain(), 1)
}

func (m *Messages) list(parts []string) string {
	return strings.Join(parts, m.ListSeparator.plain())
}

// duration is whole days if there are several, else whole hours, else whole
// minutes, else seconds.
func (m *Messages) duration(d time.Duration) string {
	seconds := int64(d / time.Second)
	switch {
	case seconds > 86400 && seconds%86400 == 0:
		return m.count(m.Days, fmt.Sprint(seconds/86400))
	case seconds >= 3600 && seconds%3600 == 0:
		return m.count(m.Hours, fmt.Sprint(seconds/3600))
	case seconds > 60 && seconds%60 == 0:
		return m.count(m.Minutes, fmt.Sprint(seconds/60))
	default:
		return m.count(m.Seconds, fmt.Sprint(seconds))
	}
}

// stopped says why a server does not run, and since when if that is known.
func (m *Messages) stopped(stop AutoStop) string {
	t := m.StoppedIdle
	if stop.Cause == v1alpha1.StopMaxRun {
		t = m.StoppedMaxRun
	}
	at := ""
	if utc := stop.At.UTC(); !utc.IsZero() {
		at = m.say(m.StoppedAt, "year", utc.Format("2006"), "month", utc.Format("01"), "day", utc.Format("02"), "time", utc.Format("15:04"))
	}
	text := m.say(t, "at", at, "limit", m.duration(stop.After))
	if stop.KeepsFiles {
		text += m.FilesKept.plain()
	}
	return text
}

// numberFault says what is wrong with a number, and the bound.
func (m *Messages) numberFault(code forms.Code, b fieldBounds) string {
	t := m.FaultMalformed
	switch code {
	case forms.Missing:
		t = m.FaultMissing
	case forms.BelowMin:
		t = m.FaultBelow
	case forms.AboveMax:
		t = m.FaultAbove
	case forms.OffStep:
		t = m.FaultStep
	case forms.Repeated:
		t = m.FaultRepeated
	}
	return m.say(t, "lowest", m.number(b.lowest), "highest", m.number(b.highest), "step", m.number(b.step),
		"lowestAmount", m.count(b.amount, b.lowest), "highestAmount", m.count(b.amount, b.highest))
}

// Refusal is the sentence for somebody who gets no form. ok is false for an
// error that is not theirs to read.
func (m *Messages) Refusal(err error) (sentence string, ok bool) {
	for _, r := range []struct {
		err  error
		text message
	}{
		{groups.ErrUnknownUser, m.UnknownUser},
		{groups.ErrNoPolicy, m.NoPolicy},
		{groups.ErrInvalidPolicy, m.InvalidPolicy},
		{groups.ErrSignInAgain, m.SignInAgain},
		{groups.ErrUnavailable, m.DirectoryUnavailable},
	} {
		if errors.Is(err, r.err) {
			return r.text.plain(), true
		}
	}
	return "", false
}
