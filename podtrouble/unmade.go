package podtrouble

import (
	"fmt"
	"regexp"
	"strings"
)

// Texts of the API server's admission plugins, as a ReplicaSet hands them on.
var (
	forbidden     = regexp.MustCompile(`(?s)^(?:Error creating: )?[a-z.]+ "[^"]*" is forbidden: (.+)$`)
	exceededQuota = regexp.MustCompile(`^exceeded quota: (\S+), requested: (\S+), used: (\S+), limited: (\S+)$`)
	failedQuota   = regexp.MustCompile(`^failed quota: (\S+): must specify (.+)$`)
	limitRange    = regexp.MustCompile(`^(minimum|maximum) (\S+) usage per (\S+) is ([^\s,]+?)(?:, but (request|limit) is (\S+)|\.\s+No (?:request|limit) is specified)$`)
	limitRatio    = regexp.MustCompile(`^(\S+) max limit to request ratio per (\S+) is ([^\s,]+), but provided ratio is ([0-9.]+)$`)
	podSecurity   = regexp.MustCompile(`(?s)^violates PodSecurity "([^"]+)": (.+)$`)
	celPolicy     = regexp.MustCompile(`(?s)^ValidatingAdmissionPolicy '([^']+)'(?: with binding '[^']+')? denied request: (.+)$`)
	noAccount     = regexp.MustCompile(`^error looking up service account ([^/\s]+)/(\S+): .*not found$`)
	noPriority    = regexp.MustCompile(`^no PriorityClass with name (\S+) was found$`)
	terminating   = regexp.MustCompile(`^unable to create new content in namespace (\S+) because it is being terminated$`)
	webhookDenied = regexp.MustCompile(`(?s)^(?:Error creating: )?admission webhook "([^"]+)" denied the request(?:: (.+)| without explanation)$`)
	webhookFailed = regexp.MustCompile(`(?s)^(?:Error creating: )?Internal error occurred: failed calling webhook "([^"]+)": (.+)$`)
)

// Unmade translates why the API server does not let a Pod, or what goes with one, be
// created: its own words, a Deployment's condition ReplicaFailure, or an Event FailedCreate
// of its ReplicaSet.
func Unmade(message string) (string, bool) {
	if m := webhookDenied.FindStringSubmatch(message); m != nil {
		why := m[2]
		if why == "" {
			why = "it does not say why"
		}
		return fmt.Sprintf("the cluster's admission webhook %s does not allow it: %s", m[1], stop(why)), true
	}
	if m := webhookFailed.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("the cluster's admission webhook %s does not answer, and nothing is made without it: an administrator looks at it (%s).", m[1], m[2]), true
	}
	m := forbidden.FindStringSubmatch(message)
	if m == nil {
		return message, false
	}
	if clause := forbiddenBy(m[1]); clause != "" {
		return clause, true
	}
	return message, false
}

// Denied reports whether an admission webhook has said no, which it may do with any status code: also
// with those of what another attempt cures.
func Denied(message string) bool { return webhookDenied.MatchString(message) }

// Unfit reports whether a Pod can never be let in as it is, whoever asks for it: a LimitRange, a quota or
// the lack of a priority class forbids it.
func Unfit(message string) bool {
	m := forbidden.FindStringSubmatch(message)
	if m == nil {
		return false
	}
	over := exceededQuota.FindStringSubmatch(m[1])
	return over != nil && larger(over[2], over[4]) || failedQuota.MatchString(m[1]) || noPriority.MatchString(m[1]) || outOfRange(m[1]) != ""
}

// Bound tells which resource of a Pod that is unfit is beyond a bound, as quotas and LimitRanges call it,
// and whether there is too much of it or too little; empty if it is none.
func Bound(message string) (resource string, tooMuch bool) {
	m := forbidden.FindStringSubmatch(message)
	if m == nil {
		return "", false
	}
	if over := exceededQuota.FindStringSubmatch(m[1]); over != nil {
		for pair := range strings.SplitSeq(over[2], ",") {
			if name, _, _ := strings.Cut(pair, "="); larger(pair, over[4]) {
				return name, true
			}
		}
	}
	first := strings.TrimPrefix(m[1], "[")
	if at := strings.IndexAny(first, ","); at > 0 { // the first of several faults, with what it goes on with
		if rest, found := strings.CutPrefix(first[at:], ", but "); found {
			end := strings.IndexAny(rest, ",]")
			if end < 0 {
				end = len(rest)
			}
			first = first[:at] + ", but " + rest[:end]
		} else {
			first = first[:at]
		}
	}
	if fault := limitRange.FindStringSubmatch(strings.TrimSuffix(first, "]")); fault != nil {
		return fault[2], fault[1] == "maximum"
	}
	return "", false
}

// forbiddenBy is empty for what is not known.
func forbiddenBy(why string) string {
	if m := exceededQuota.FindStringSubmatch(why); m != nil {
		return overQuota(m[1], m[2], m[3], m[4])
	}
	if m := failedQuota.FindStringSubmatch(why); m != nil {
		return fmt.Sprintf("the quota %s of its namespace counts what it does not set (%s): an administrator sets that in the policy, or by a LimitRange.", m[1], m[2])
	}
	if clause := outOfRange(why); clause != "" {
		return clause
	}
	if m := podSecurity.FindStringSubmatch(why); m != nil {
		return fmt.Sprintf("its namespace takes only Pods of the Pod Security Standard %s: %s An administrator changes what the policy makes of the Pod, or the namespace's label pod-security.kubernetes.io/enforce.", m[1], stop(m[2]))
	}
	if m := celPolicy.FindStringSubmatch(why); m != nil {
		return fmt.Sprintf("the cluster's admission policy %s does not allow it: %s", m[1], stop(m[2]))
	}
	if m := noAccount.FindStringSubmatch(why); m != nil {
		return fmt.Sprintf("there is no service account %s in the namespace %s: an administrator makes it, or has the policy name another.", m[2], m[1])
	}
	if m := noPriority.FindStringSubmatch(why); m != nil {
		return fmt.Sprintf("there is no priority class %s: an administrator makes it, or has the policy name another.", m[1])
	}
	if m := terminating.FindStringSubmatch(why); m != nil {
		return fmt.Sprintf("the namespace %s is being deleted.", m[1])
	}
	return ""
}

// outOfRange translates the faults that a LimitRange finds, one or [several, in brackets];
// empty if one of them is not known.
func outOfRange(why string) string {
	var faults []string
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(why, "["), "]"), ", ") {
		if len(faults) > 0 && strings.HasPrefix(part, "but ") {
			faults[len(faults)-1] += ", " + part
			continue
		}
		faults = append(faults, part)
	}
	for i, fault := range faults {
		if m := limitRatio.FindStringSubmatch(fault); m != nil {
			faults[i] = fmt.Sprintf("the limit of %s for each %s may be %s times what is requested, and is %s times", m[1], m[2], m[3], strings.TrimRight(strings.TrimRight(m[4], "0"), "."))
			continue
		}
		m := limitRange.FindStringSubmatch(fault)
		if m == nil {
			return ""
		}
		bound := "most"
		if m[1] == "minimum" {
			bound = "least"
		}
		is := "none is set"
		if m[6] != "" {
			is = "the " + m[5] + " is " + m[6]
		}
		faults[i] = fmt.Sprintf("%s for each %s has to be at %s %s, and %s", m[2], m[3], bound, m[4], is)
	}
	return "a LimitRange of its namespace does not allow it: " + strings.Join(faults, "; ") + ". Choose another size, or ask an administrator."
}

// stop ends a text with a full stop.
func stop(text string) string {
	text = strings.TrimSpace(text)
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "!") || strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}
