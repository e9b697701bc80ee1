package podrules

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// maxStaticPath bounds the path of a static home, in bytes, before names are written into it.
const maxStaticPath = 1024

// userMarks stand for the user in the path of a static home.
var userMarks = []string{v1alpha1.UsernameMark, v1alpha1.SafeUsernameMark, v1alpha1.EscapedUsernameMark}

// UserMark is what stands for the user in the path of a static home, empty if nothing does.
func UserMark(subPath string) string {
	i := slices.IndexFunc(userMarks, func(mark string) bool { return strings.Contains(subPath, mark) })
	if i < 0 {
		return ""
	}
	return userMarks[i]
}

// StaticHomeFaults are about a home that is a directory of a claim; their paths are below the
// home.
func StaticHomeFaults(home *v1alpha1.HomeVolume, ofPolicy bool) []Fault {
	if home.Static == nil {
		return nil
	}
	var faults []Fault
	add := func(at, problem string) { faults = append(faults, Fault{Path: at, Problem: problem}) }
	for _, text := range validation.IsDNS1123Subdomain(home.Static.Claim) {
		add("static.claim", fmt.Sprintf("%q: %s", home.Static.Claim, text))
	}
	if problem := staticPathProblem(home.Static.SubPath, ofPolicy); problem != "" {
		add("static.subPath", fmt.Sprintf("%q %s", home.Static.SubPath, problem))
	}
	for _, set := range []struct {
		at string
		is bool
	}{
		{"claim", home.Claim != ""}, {"size", home.Size.Sign() != 0}, {"storageClassName", home.StorageClassName != nil},
		{"accessModes", len(home.AccessModes) > 0}, {"onRemoval", home.OnRemoval != ""}, {"labels", len(home.Labels) > 0},
		{"annotations", len(home.Annotations) > 0}, {"selector", home.Selector != nil},
	} {
		if set.is {
			add(set.at, "must not be set beside static: the claim is there already, and no directory of it is ever deleted")
		}
	}
	return faults
}

// staticPathProblem is why a path is refused; empty if it is not. One part of a policy's must
// have the user, so that no home is in another's, and none is the volume itself.
func staticPathProblem(subPath string, ofPolicy bool) string {
	switch {
	case subPath == "" || len(subPath) > maxStaticPath:
		return fmt.Sprintf("must have 1 to %d bytes", maxStaticPath)
	case path.IsAbs(subPath), path.Clean(subPath) != subPath, subPath == ".", strings.ContainsAny(subPath, "\x00\\"):
		return "must be a clean path that is not absolute"
	case slices.Contains(strings.Split(subPath, "/"), ".."):
		return "must not leave the volume"
	case !ofPolicy:
		return ""
	}
	users, server := 0, false
	for _, part := range strings.Split(subPath, "/") {
		if server {
			return v1alpha1.ServernameMark + " must be the last part"
		}
		rest := part
		for _, mark := range userMarks {
			users += strings.Count(part, mark)
			rest = strings.ReplaceAll(rest, mark, "")
		}
		if server = part == v1alpha1.ServernameMark; server {
			if users == 0 {
				return v1alpha1.ServernameMark + " must follow the part with the user: homes of others could be in it"
			}
			continue
		}
		if strings.ContainsAny(rest, "{}") {
			return "must have no braces but " + strings.Join(userMarks, ", ") + ", and " + v1alpha1.ServernameMark + " as the last part"
		}
	}
	if users != 1 {
		return "must have one of " + strings.Join(userMarks, ", ") + ": a directory for all members is a shared volume"
	}
	return ""
}

// within has all containers of a Pod that mount a volume of this claim by its name mount what
// is below its path: to them, too, the volume is that directory.
func within(pod *corev1.PodSpec, claim Claim) {
	if claim.SubPath == "" {
		return
	}
	for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				m := &list[i].VolumeMounts[j]
				switch {
				case m.Name != claim.Volume:
				case m.SubPathExpr != "":
					m.SubPathExpr = path.Join(strings.ReplaceAll(claim.SubPath, "$", "$$"), m.SubPathExpr)
				default:
					m.SubPath = path.Join(claim.SubPath, m.SubPath)
				}
			}
		}
	}
}
