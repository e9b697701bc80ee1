package web

// Fault is why there is no page.
type Fault string

// Faults that a page tells of in its reader's language.
const (
	FaultNotAllowed    Fault = "not-allowed"
	FaultCrossSite     Fault = "cross-site"
	FaultSignIn        Fault = "sign-in-failed"
	FaultProvider      Fault = "provider-unavailable"
	FaultNoRoute       Fault = "no-route"
	FaultNoAdmin       Fault = "no-administrator"
	FaultNotFound      Fault = "not-found"
	FaultConflict      Fault = "conflict"
	FaultNotRunning    Fault = "not-running"
	FaultNotWaiting    Fault = "not-waiting"
	FaultRunning       Fault = "running"
	FaultNotOwner      Fault = "not-owner"
	FaultNotOffered    Fault = "not-offered"
	FaultNothingToKeep Fault = "nothing-to-keep"
	FaultSnoozeUsedUp  Fault = "snooze-used-up"
	FaultNoReason      Fault = "reason-required"
	FaultUnreadable    Fault = "malformed"
	FaultSignInNew     Fault = "sign-in-again"
	FaultDirectory     Fault = "directory-unavailable"
	FaultBusy          Fault = "cluster-busy"
	FaultDeadline      Fault = "deadline"
	FaultInternal      Fault = "internal"
	FaultReadOnly      Fault = "read-only"
	FaultManaged       Fault = "managed"
)

// wayOut is the text of the link that leads to the first page.
func (m *Messages) wayOut(f Fault) string {
	switch f {
	case FaultNoRoute, FaultNoAdmin, FaultNotFound, FaultConflict, FaultNotRunning, FaultNotWaiting, FaultRunning, FaultNotOwner, FaultNotOffered, FaultNothingToKeep, FaultSnoozeUsedUp, FaultNoReason, FaultUnreadable, FaultReadOnly, FaultManaged:
		return m.MineTitle.plain()
	case FaultNotAllowed, FaultCrossSite, FaultSignIn, FaultProvider, FaultSignInNew, FaultDirectory, FaultBusy, FaultDeadline, FaultInternal:
	}
	return m.Again.plain()
}

func (c Console) fault(f Fault) string {
	m := c.Msg
	switch f {
	case FaultNotAllowed:
		return m.FaultNotAllowed.plain()
	case FaultCrossSite:
		return m.FaultCrossSite.plain()
	case FaultSignIn:
		return m.FaultSignIn.plain()
	case FaultProvider:
		return m.FaultProvider.plain()
	case FaultNoRoute:
		return m.FaultNoRoute.plain()
	case FaultNoAdmin:
		return m.FaultNoAdmin.plain()
	case FaultNotFound:
		return m.FaultNotFound.plain()
	case FaultConflict:
		return m.FaultConflict.plain()
	case FaultNotRunning:
		return m.FaultNotRunning.plain()
	case FaultNotWaiting:
		return m.FaultNotWaiting.plain()
	case FaultRunning:
		return m.FaultRunning.plain()
	case FaultNotOwner:
		return m.FaultNotOwner.plain()
	case FaultNotOffered:
		return m.FaultNotOffered.plain()
	case FaultNothingToKeep:
		return m.FaultNothingToKeep.plain()
	case FaultSnoozeUsedUp:
		return m.say(m.FaultSnoozeUsedUp, "time", m.about(c.Bound))
	case FaultNoReason:
		return m.FaultNoReason.plain()
	case FaultUnreadable:
		return m.FaultUnreadable.plain()
	case FaultSignInNew:
		return m.SignInAgain.plain()
	case FaultDirectory:
		return m.DirectoryUnavailable.plain()
	case FaultReadOnly, FaultManaged:
		return m.FaultReadOnly.plain()
	case FaultBusy, FaultDeadline:
		return m.FaultBusy.plain()
	case FaultInternal:
	}
	return m.FaultInternal.plain()
}
