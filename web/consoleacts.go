package web

import (
	"net/url"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
)

// act is something to ask for, in a form that opens.
type act struct {
	label, explained, action, csrf string
	// about names what it is done to, for who does not see what is around.
	about string
	// force and reason are what the form asks for, besides.
	force, reason bool
	// choices are of what is asked for as chooses, by its label; one is chosen already.
	choices      []choice
	chooses      string
	choosesLabel string
	danger       bool
}

// choice is something to choose.
type choice struct {
	name, text string
	chosen     bool
}

// returnAct brings a kernel back, as one of what it may return as.
func (c Console) returnAct(k holdings.Kernel) act {
	a := act{label: c.Msg.Return.plain(), explained: c.Msg.ReturnExplained.plain(), action: c.Base + "kernels/" + url.PathEscape(k.ID) + "/return",
		chooses: "kernelspec", choosesLabel: c.Msg.ReturnAs.plain()}
	for _, one := range k.Returns {
		text := one.Title
		if amounts := c.Msg.amounts(one.Devices); amounts != "" {
			text += ", " + amounts
		}
		a.choices = append(a.choices, choice{one.Name, text, one.Name == k.KernelSpec})
	}
	return a
}

func (c Console) kernelActs(k holdings.Kernel, own bool) []act {
	if k.Ending {
		return nil
	}
	action := c.Base + "kernels/" + url.PathEscape(k.ID)
	var acts []act
	switch {
	case k.Phase == v1alpha1.KernelQueued:
		acts = append(acts, c.moveActs(k)...)
		acts = append(acts, act{label: c.Msg.LeaveQueue.plain(), explained: c.Msg.QueueExplained.plain(), action: action + "/release"})
	case own && len(k.Returns) > 0:
		acts = append(acts, c.returnAct(k))
	case k.Phase.HasPod():
		if k.Phase == v1alpha1.KernelReady && k.ParkAt != nil {
			acts = append(acts, act{label: c.Msg.Snooze.plain(), explained: c.Msg.SnoozeExplained.plain(), action: action + "/snooze"})
		}
		acts = append(acts, act{label: c.Msg.Release.plain(), explained: c.Msg.ReleaseExplained.plain(), action: action + "/release", force: true})
	}
	acts = append(acts, act{label: c.Msg.ShutDown.plain(), explained: c.Msg.ShutDownExplained.plain(), action: action + "/shutdown", danger: true})
	for i := range acts {
		acts[i].csrf, acts[i].reason, acts[i].about = c.CSRF, acts[i].reason || !own, aboutKernel(k)
	}
	return acts
}

func aboutKernel(k holdings.Kernel) string {
	if k.Document == "" {
		return k.Title
	}
	return k.Title + ", " + k.Document
}

// moveActs are what moves a kernel that waits, for administrators: one, or none.
func (c Console) moveActs(k holdings.Kernel) []act {
	if !c.Admin || k.Ending {
		return nil
	}
	a := act{label: c.Msg.Move.plain(), explained: c.Msg.MoveExplained.plain(), action: c.Base + "kernels/" + url.PathEscape(k.ID) + "/move",
		chooses: "to", choosesLabel: c.Msg.MoveTo.plain(), reason: true, csrf: c.CSRF, about: aboutKernel(k) + ", " + k.User}
	if k.Moved != nil {
		a.choices = append(a.choices, choice{name: "turn", text: c.Msg.MoveToTurn.plain()})
	}
	a.choices = append(a.choices, choice{name: holdings.MovedFirst, text: c.Msg.MoveToFirst.plain()}, choice{name: holdings.MovedLast, text: c.Msg.MoveToLast.plain()})
	return []act{a}
}

func (c Console) serverActs(s holdings.Server, own bool) []act {
	if s.Stopped {
		return nil
	}
	action := c.Base + "servers/" + url.PathEscape(s.Name)
	var acts []act
	if s.Phase == v1alpha1.NotebookReady && s.StopCause == v1alpha1.StopIdle {
		acts = append(acts, act{label: c.Msg.Snooze.plain(), explained: c.Msg.SnoozeExplained.plain(), action: action + "/snooze"})
	}
	explained := c.Msg.StopOwnExplained
	if !own {
		explained = c.Msg.StopExplained
	}
	acts = append(acts, act{label: c.Msg.StopServer.plain(), explained: explained.plain(), action: action + "/stop", danger: true})
	for i := range acts {
		acts[i].csrf, acts[i].reason, acts[i].about = c.CSRF, !own, serverTitle(s, c.Msg)
	}
	return acts
}
