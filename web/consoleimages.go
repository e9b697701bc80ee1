package web

import (
	"strconv"

	"github.com/elastichub/elastichub/prepull/imagestate"
)

// Images are those that should be on nodes before anybody needs them, if any are wanted
// there and it is known how far they are.
type Images struct {
	Wanted, Known bool
	All           []imagestate.Image
}

// usedBy says what an image is for.
func (m *Messages) usedBy(u imagestate.Use) string {
	switch {
	case u.Service:
		return m.ImageService.plain()
	case u.Container != "":
		return m.say(m.ImageContainer, "container", u.Container, "policy", u.Policy)
	case u.Channel != "":
		return m.say(m.ImageChannel, "channel", u.Channel, "policy", u.Policy)
	default:
		return m.say(m.ImageKernel, "kernel", u.KernelSpec)
	}
}

// imageStates say on how many nodes an image is in which state; it is there if it is on all.
func (m *Messages) imageStates(image imagestate.Image) []stateView {
	n := image.Nodes
	switch {
	case n.Total == 0:
		return []stateView{{m.ImageNowhere.plain(), ""}}
	case n.Present == n.Total:
		return []stateView{{m.ImagePresent.plain(), "good"}}
	}
	var all []stateView
	for _, one := range []struct {
		count int
		text  message
		mark  string
	}{{n.Failing, m.ImageFailing, "bad"}, {n.Pulling, m.ImagePulling, "warn"}, {n.Waiting, m.ImageWaiting, "idle"}} {
		if one.count > 0 {
			all = append(all, stateView{m.say(one.text, "n", strconv.Itoa(one.count)), one.mark})
		}
	}
	return all
}

func (m *Messages) imageNodes(n imagestate.Nodes) string {
	return m.say(m.ImageNodes, "present", strconv.Itoa(n.Present), "total", strconv.Itoa(n.Total))
}
