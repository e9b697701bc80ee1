package upgrade

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Helm rolls a release.
type Helm struct {
	Program            string
	Kubeconfig         string // empty: what Helm finds by itself
	Namespace, Release string
	// Args are the chart and what else `helm upgrade` is to have.
	Args []string
	// Out is where it writes.
	Out io.Writer
}

// arguments are those of `helm upgrade`.
func (h *Helm) arguments(more ...string) []string {
	all := []string{"upgrade", h.Release}
	all = append(all, h.where()...)
	return append(append(all, h.Args...), more...)
}

func (h *Helm) where() []string {
	where := []string{"--namespace", h.Namespace}
	if h.Kubeconfig != "" {
		where = append(where, "--kubeconfig", h.Kubeconfig)
	}
	return where
}

// command ends Helm by SIGTERM, so that it does not leave a release that is pending for ever.
func (h *Helm) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.Program, args...) //nolint:gosec // the user names Helm and what it is given
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// ask runs a command of Helm that changes nothing.
func (h *Helm) ask(ctx context.Context, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := h.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, &HelmError{Command: h.Program + " " + strings.Join(args, " "), Says: strings.TrimSpace(errs.String()), cause: err}
	}
	return out.Bytes(), nil
}

// HelmError is what Helm said when it failed.
type HelmError struct {
	Command, Says string
	cause         error
}

func (e *HelmError) Error() string { return fmt.Sprintf("%s: %v: %s", e.Command, e.cause, e.Says) }
func (e *HelmError) Unwrap() error { return e.cause }

// Plan is what Helm would do.
type Plan struct {
	// Command is how it is called.
	Command string
	// Version is that of the service in the new manifest.
	Version string
	// Rolls are the workloads whose Pods change, as Deployment elastichub; those that come and
	// go are among them.
	Rolls []string
	// Refused is why Helm would do nothing.
	Refused string
}

// Plan asks Helm, and changes nothing.
func (h *Helm) Plan(ctx context.Context) (*Plan, error) {
	p := &Plan{Command: h.Program + " " + strings.Join(h.arguments(), " ")}
	former, err := h.ask(ctx, append([]string{"get", "manifest", h.Release}, h.where()...)...)
	if err == nil {
		var next []byte
		if next, err = h.ask(ctx, h.arguments("--dry-run=server", "--output", "json")...); err == nil {
			return p, p.compare(former, next)
		}
	}
	var failed *HelmError
	var status *exec.ExitError
	if errors.As(err, &failed) && errors.As(err, &status) {
		p.Refused = failed.Error()
		return p, nil
	}
	return nil, fmt.Errorf("Helm cannot be run: %w", err)
}

// podOwners are the kinds of a chart that have Pods.
var podOwners = []string{"Deployment", "StatefulSet", "DaemonSet"}

func (p *Plan) compare(former, release []byte) error {
	var next struct{ Manifest string }
	if err := json.Unmarshal(release, &next); err != nil {
		return fmt.Errorf("what helm upgrade --dry-run said: %w", err)
	}
	before, err := templates(former)
	if err != nil {
		return fmt.Errorf("the manifest of the release that runs: %w", err)
	}
	after, err := templates([]byte(next.Manifest))
	if err != nil {
		return fmt.Errorf("the new manifest: %w", err)
	}
	for name, o := range after {
		if o.component == serviceSection && o.app {
			p.Version = o.version
		}
		if !reflect.DeepEqual(o.template, before[name].template) {
			p.Rolls = append(p.Rolls, name)
		}
	}
	for name := range before {
		if _, stays := after[name]; !stays {
			p.Rolls = append(p.Rolls, name)
		}
	}
	slices.Sort(p.Rolls)
	return nil
}

type owner struct {
	template           any
	app                bool
	component, version string
}

func templates(manifest []byte) (map[string]owner, error) {
	all := map[string]owner{}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096); ; {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(podOwners, o.GetKind()) {
			continue
		}
		template, _, err := unstructured.NestedFieldNoCopy(o.Object, "spec", "template")
		if err != nil {
			return nil, err
		}
		labels := o.GetLabels()
		all[o.GetKind()+" "+o.GetName()] = owner{
			template: template, app: labels[labelName] == "elastichub", component: labels["app.kubernetes.io/component"], version: labels[labelVersion],
		}
	}
}

func (p *Plan) against(ours string) string {
	switch {
	case p.Refused != "":
		return "Helm refuses: " + p.Refused
	case p.Version != ours:
		return fmt.Sprintf("Helm was given a chart of %s, and this is elastichub %s: take both of one release", orNothing(p.Version), ours)
	}
	return ""
}

func orNothing(text string) string {
	if text == "" {
		return "something else"
	}
	return text
}

func (p *Plan) tell() string {
	if len(p.Rolls) == 0 {
		return "Helm rolls nothing: " + p.Command
	}
	return "Helm rolls " + mentioned(p.Rolls) + ": " + p.Command
}

// Upgrade runs it.
func (h *Helm) Upgrade(ctx context.Context) error {
	cmd := h.command(ctx, h.arguments()...)
	cmd.Stdout, cmd.Stderr = h.Out, h.Out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("helm upgrade: %w", err)
	}
	return nil
}
