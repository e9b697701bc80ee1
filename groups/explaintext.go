package groups

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups/naming"
)

func groupNames(all []Group) string {
	names := make([]string, 0, len(all))
	for _, g := range all {
		names = append(names, g.Name)
	}
	return strings.Join(names, ", ")
}

// namesakes says which plain names of a policy mean several groups of the
// user, so that whoever wrote it can tell whether all of them are meant.
func namesakes(m match) string {
	var b strings.Builder
	for _, entry := range m.policy.Spec.Groups {
		var dns []string
		for _, g := range m.groups {
			if g.DN != "" && !naming.LooksLikeDN(entry) && naming.Same(g.Name, entry) {
				dns = append(dns, g.DN)
			}
		}
		if len(dns) > 1 {
			fmt.Fprintf(&b, " (%q is the name of %d groups: %s; name the DN of the one that is meant)", entry, len(dns), strings.Join(dns, " and "))
		}
	}
	return b.String()
}

// WriteText writes the explanation for a person at a terminal.
func (e Explanation) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "user      %q\n", e.User)
	sources := e.Sources
	if len(sources) == 0 && e.Source != "" {
		sources = []Origin{{Source: e.Source, AsOf: e.AsOf, Stale: e.Stale, Known: true}}
	}
	for _, o := range sources {
		o.write(&b)
	}
	for _, g := range e.Groups {
		fmt.Fprintf(&b, "group     %s", g.Name)
		if g.DN != "" {
			fmt.Fprintf(&b, "  (%s)", g.DN)
		}
		if g.Source != "" {
			fmt.Fprintf(&b, "  from %s", g.Source)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "matching  %s\n", e.Matching)
	for _, p := range e.Policies {
		mark := "         "
		if p.Applied {
			mark = "applies  "
		}
		fmt.Fprintf(&b, "policy    %s %s, priority %d: %s\n", mark, p.Name, p.Priority, p.Because)
		for _, fault := range p.Faults {
			fmt.Fprintf(&b, "            fault: %s\n", fault)
		}
	}
	if e.Allowance != nil {
		text{&b, *e.Allowance, e.Origins}.write()
	}
	if e.Fault != "" {
		fmt.Fprintf(&b, "result    no allowance: %s\n", e.Fault)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// text writes an allowance line by line; with several policies, each line ends
// with those it comes from.
type text struct {
	b       *strings.Builder
	a       Allowance
	origins map[string][]string
}

func (t text) line(title, origin, format string, args ...any) {
	fmt.Fprintf(t.b, "%-9s ", title)
	fmt.Fprintf(t.b, format, args...)
	if from := t.origins[origin]; len(t.a.Policies) > 1 && len(from) > 0 {
		fmt.Fprintf(t.b, "  [%s]", strings.Join(from, ", "))
	}
	t.b.WriteByte('\n')
}

func (t text) write() {
	t.bounds("cpu", t.a.CPU)
	t.bounds("memory", t.a.Memory)
	for _, c := range t.a.Images {
		note := ""
		if c.Hidden {
			note = " (hidden)"
		}
		if c.Redirect != nil {
			note += " (users are asked to move to " + c.Redirect.To + ")"
		}
		t.line("image", "images."+c.ID, "%s: %s%s", c.ID, c.Image, note)
	}
	for _, p := range t.a.Presets {
		t.line("preset", "presets."+p.Name, "%s: cpu %s, memory %s", p.Name, p.CPU.String(), p.Memory.String())
	}
	t.kernels()
	t.line("servers", "serversPerUser", "%d at once", t.a.ServersPerUser)
	t.line("idle", "serverIdleSeconds", "servers %s", after(t.a.ServerIdleSeconds, "are stopped after %s without activity", "are never stopped for idleness"))
	t.line("run time", "maxRunSeconds", "servers %s", after(t.a.MaxRunSeconds, "are stopped after %s, busy or not", "may run for ever"))
	t.line("snooze", "snoozeMaxSeconds", "automatic stops are %s", after(snoozeSeconds(t.a), "put off by hand for %s of a run at most", "not put off by hand"))
	t.placement()
	t.storage()
	if t.a.Pod != nil {
		t.line("pod", "pod", "%s", podText(t.a.Pod))
	}
	for _, e := range t.a.Env {
		t.line("env", "env."+e.Name, "%s", e.Name)
	}
	for _, s := range t.a.ImagePullSecrets {
		t.line("secret", "imagePullSecrets."+s.Name, "%s, to pull images", s.Name)
	}
}

func (t text) bounds(name string, r Range) {
	t.line(name, "", "%s to %s, step %s, default %s, request %.2f of the limit",
		r.Min.String(), r.Max.String(), r.Step.String(), r.Default.String(), r.RequestRatio)
	if len(t.a.Policies) > 1 {
		for _, key := range []string{"min", "max", "step", "default", "requestRatio"} {
			from := strings.Join(t.origins[name+"."+key], ", ")
			if from == "" {
				from = "common to all"
			}
			fmt.Fprintf(t.b, "            %s: %s\n", key, from)
		}
	}
}

func after(seconds int64, limited, unlimited string) string {
	if seconds == 0 {
		return unlimited
	}
	return fmt.Sprintf(limited, time.Duration(seconds)*time.Second)
}

func (t text) kernels() {
	k := t.a.Kernels
	if len(k.Allowed) == 0 {
		t.line("kernels", "", "none on the gateway")
		return
	}
	for _, name := range k.Allowed {
		t.line("kernel", "kernels.allowed."+name, "%s", name)
	}
	if k.PerUser > 0 {
		t.line("kernels", "kernels.perUser", "%d with a Pod at once", k.PerUser)
	} else {
		t.line("kernels", "kernels.perUser", "any number at once")
	}
	for _, g := range t.a.GPUs {
		pool := "no pool"
		if g.Pool != nil {
			pool = fmt.Sprintf("pool of %d shared by the members of %s", *g.Pool, g.Policy)
		}
		t.line("gpus", "gpus."+g.Resource, "%s: %d per kernel, %d per user, %s", g.Resource, g.PerKernel, g.PerUser, pool)
	}
	if len(t.a.GPUs) == 0 {
		t.line("gpus", "", "none")
	}
	t.line("at limit", "kernels.atLimit", "%s", map[v1alpha1.AtLimit]string{
		v1alpha1.AtLimitQueue: "kernels wait in the queue", v1alpha1.AtLimitRefuse: "new kernels are refused",
	}[k.AtLimit])
	t.line("idle", "kernels.idleSeconds", "kernels %s", after(k.IdleSeconds, "are parked after %s without activity", "are parked as the gateway has it"))
	if k.MaxRunSeconds == nil {
		t.line("run time", "kernels.maxRunSeconds", "kernels are ended after what the chart says (kernels.maxRunSeconds), busy or not")
	} else {
		t.line("run time", "kernels.maxRunSeconds", "kernels %s", after(*k.MaxRunSeconds, "are ended after %s, busy or not", "may run for ever"))
	}
	if ptr.Deref(k.OwnEnvironments, false) {
		t.line("own", "kernels.ownEnvironments", "environments of the home are kernels")
	}
	for _, b := range k.Budget {
		t.line("budget", "kernels.budget", "%s", BudgetText(b))
	}
	if len(k.Budget) > 0 || k.OnBudget != "" {
		t.line("on budget", "kernels.onBudget", "%s", cmp.Or(k.OnBudget, v1alpha1.OnBudgetWhole))
	}
	t.line("weight", "kernels.weight", "%d, where capacity is shared out", k.Weight)
}

func (t text) placement() {
	var parts []string
	for key, value := range t.a.NodeSelector {
		parts = append(parts, "node "+key+"="+value)
	}
	slices.Sort(parts)
	for _, toleration := range t.a.Tolerations {
		parts = append(parts, strings.TrimSuffix(fmt.Sprintf("tolerates %s=%s:%s", toleration.Key, toleration.Value, toleration.Effect), ":"))
	}
	if t.a.Affinity != nil {
		parts = append(parts, "affinity")
	}
	if t.a.PriorityClassName != "" {
		parts = append(parts, "priority class "+t.a.PriorityClassName)
	}
	if t.a.SchedulerName != "" {
		parts = append(parts, "scheduler "+t.a.SchedulerName)
	}
	if t.a.ServiceAccountName != "" {
		parts = append(parts, "as "+t.a.ServiceAccountName)
	}
	for _, token := range t.a.ServiceAccountTokens {
		parts = append(parts, "token for "+token.Audience)
	}
	if len(parts) > 0 {
		t.line("placement", "placement", "%s", strings.Join(parts, "; "))
	}
}

// homeText is how large a home is, or where.
func homeText(h *v1alpha1.HomeVolume) string {
	if h.Static != nil {
		return h.Static.SubPath + " of " + h.Static.Claim
	}
	return h.Size.String()
}

func (t text) storage() {
	s := t.a.Storage
	if s == nil {
		return
	}
	if s.Home != nil {
		t.line("home", "storage.home", "%s at %s", homeText(s.Home), s.Home.Path())
	}
	for _, v := range s.Shared {
		mode := "read and write"
		if v.ReadOnly {
			mode = "read only"
		}
		t.line("volume", "storage.shared."+v.MountPath, "%s at %s, %s", v.Claim, v.MountPath, mode)
	}
}

// BudgetText is a budget in words.
func BudgetText(b v1alpha1.Budget) string {
	window := "the " + string(b.Window.Calendar)
	if b.Window.Rolling != nil {
		window = b.Window.Rolling.Duration.String()
	}
	if b.Window.TimeZone != "" {
		window += " of " + b.Window.TimeZone
	}
	return fmt.Sprintf("%s hours of %s per %s in %s", b.Hours.String(), b.Resource, b.Per, window)
}
