package upgrade

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// against is all that is against the upgrade, a sentence each. It is pure.
func (p *Picture) against(ours string) (faults []string) {
	switch {
	case p.Running == "":
		faults = append(faults, "the release that runs says no version in the label app.kubernetes.io/version of its Deployment")
	case later(p.Running, ours):
		faults = append(faults, fmt.Sprintf("the release that runs is %s, and this is the older %s: helm rollback goes back (docs/upgrade.md)", p.Running, ours))
	default:
		faults = appendSome(faults, apart("the release that runs", p.Running, ours))
	}
	for _, d := range p.Definitions {
		faults = appendSome(faults, newerKind(d.Name, d.Of(), ours))
	}
	for _, r := range p.Refused {
		if !r.Already {
			faults = append(faults, "the new kind would refuse "+r.String())
		}
	}
	for _, g := range p.Gateways {
		faults = appendSome(faults, apart("the gateway "+g.String(), ofImage(g.Image), ours))
	}
	for _, pod := range slices.Sorted(maps.Keys(p.Agents)) {
		faults = appendSome(faults, apart("the agent in the kernel's Pod "+pod, ofImage(p.Agents[pod]), ours))
	}
	if p.Plan != nil {
		faults = appendSome(faults, p.Plan.against(ours))
	}
	return faults
}

func appendSome(to []string, text string) []string {
	if text == "" {
		return to
	}
	return append(to, text)
}

// tell says what there is and what will become of it.
func (p *Picture) tell(ours string) (said []string) {
	said = append(said, fmt.Sprintf("elastichub %s runs (%s), and this is %s.", p.Running, p.Chart, ours))
	same := 0
	for _, d := range p.Definitions {
		switch added, removed := d.Fields(); {
		case d.There == nil:
			said = append(said, "Kind "+d.Name+" is made.")
		case !d.Changes:
			same++
		default:
			what := []string{}
			if len(added) > 0 {
				what = append(what, "gets "+mentioned(added))
			}
			if len(removed) > 0 {
				what = append(what, "loses "+mentioned(removed))
			}
			if len(what) == 0 {
				what = append(what, "changes, and has the same fields")
			}
			said = append(said, "Kind "+d.Name+" "+strings.Join(what, ", and ")+".")
		}
	}
	if same > 0 {
		said = append(said, fmt.Sprintf("%d kinds stay as they are.", same))
	}
	switch refused := len(p.Refused); refused {
	case 0:
		said = append(said, fmt.Sprintf("The %d objects that are stored are all taken.", p.Objects))
	default:
		said = append(said, fmt.Sprintf("Of the %d objects that are stored %d are not taken.", p.Objects, refused))
	}
	for _, r := range p.Refused {
		if r.Already {
			said = append(said, "Refused before and after: "+r.String())
		}
	}
	if p.Plan != nil {
		said = append(said, p.Plan.tell())
	}
	names := make([]string, 0, len(p.Gateways))
	for _, g := range p.Gateways {
		names = append(names, g.String())
	}
	if len(names) > 0 {
		said = append(said, "With another image of the service the gateways roll, too: "+mentioned(names)+".")
	}
	if p.Warm > 0 {
		said = append(said, fmt.Sprintf("Kernels that nobody has, %d, are made anew then.", p.Warm))
	}
	former := 0
	for _, image := range p.Agents {
		if image != p.Service.Image {
			former++
		}
	}
	also := ""
	if former > 0 {
		also = fmt.Sprintf(" (%d have an older one already)", former)
	}
	said = append(said, fmt.Sprintf("Not touched: %d kernels that run, which keep their agent until they are parked%s, and %d notebook servers.", len(p.Agents), also, p.Notebooks))
	return said
}
