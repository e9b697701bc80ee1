// Package faults breaks the running demo in the ways that clusters break, and
// looks at what its users notice. `make e2e` runs it (build tag e2e).
package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/elastichub/elastichub/test/client"
)

// Demo is the demo that `make run` started, as `make env` describes it.
type Demo struct {
	Namespace string
	Gateway   client.Gateway
	HubURL    string
	hubToken  string
	kubectl   string
}

// FromEnv reads what `make env` exports.
func FromEnv() (*Demo, error) {
	var faults []error
	need := func(name string) string {
		value := os.Getenv(name)
		if value == "" {
			faults = append(faults, fmt.Errorf("%s is not set: run make e2e", name))
		}
		return value
	}
	d := &Demo{
		Namespace: need("ELASTICHUB_DEMO_NAMESPACE"), HubURL: need("HUB_URL"), hubToken: need("HUB_API_TOKEN"), kubectl: need("KUBECTL"),
		Gateway: client.Gateway{URL: need("GATEWAY_URL"), Token: need("GATEWAY_TOKEN")},
	}
	need("KUBECONFIG")
	return d, errors.Join(faults...)
}

// Kubectl runs it in the demo's namespace and returns what it printed.
func (d *Demo) Kubectl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.kubectl, append([]string{"-n", d.Namespace}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// Pod is what the tests look at.
type Pod struct {
	Metadata struct {
		Name, UID         string
		DeletionTimestamp string
	}
	Status struct {
		PodIP      string
		Conditions []struct{ Type, Status string }
	}
}

func (p Pod) ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True" && p.Metadata.DeletionTimestamp == ""
		}
	}
	return false
}

// ReadyPods returns those that a label selector matches.
func (d *Demo) ReadyPods(selector string) ([]Pod, error) {
	out, err := d.Kubectl("get", "pods", "-o", "json", "-l", selector)
	if err != nil {
		return nil, err
	}
	var list struct{ Items []Pod }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	var ready []Pod
	for _, p := range list.Items {
		if p.ready() {
			ready = append(ready, p)
		}
	}
	return ready, nil
}

// processes returns the ids of the processes of this machine whose control
// group and command line contain the given texts.
func processes(group string, command ...string) ([]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, dir := range dirs {
		groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil || !bytes.Contains(groups, []byte(group)) {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 {
			continue
		}
		words := strings.ReplaceAll(string(line), "\x00", " ")
		matches := true
		for _, text := range command {
			matches = matches && strings.Contains(words, text)
		}
		if matches {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				return nil, err
			}
			found = append(found, pid)
		}
	}
	return found, nil
}

// KillPod sends SIGKILL to the processes of a Pod's container that runs the
// given command; its Pod and the kubelet learn of it afterwards.
func KillPod(p Pod, command string) error {
	// Control groups are named after the UID, with _ for - under systemd.
	for _, uid := range []string{p.Metadata.UID, strings.ReplaceAll(p.Metadata.UID, "-", "_")} {
		pids, err := processes(uid, command)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return err
			}
		}
		if len(pids) > 0 {
			return nil
		}
	}
	return fmt.Errorf("no process of Pod %s runs %q", p.Metadata.Name, command)
}

// Start starts a kernel and returns it, not connected.
func (d *Demo) Start(name string) (*client.Kernel, error) {
	var model struct{ ID string }
	status, err := d.Gateway.Call(context.Background(), "POST", "/api/kernels", map[string]any{"name": name}, &model)
	if err != nil || status != 201 {
		return nil, fmt.Errorf("start %s: status %d: %w", name, status, err)
	}
	return d.Kernel(model.ID, client.SubprotocolResume), nil
}

// Kernel is another client of a kernel, with a session of its own.
func (d *Demo) Kernel(id, subprotocol string) *client.Kernel {
	return &client.Kernel{
		Gateway: d.Gateway, ID: id, Session: uuid.NewString(), Subprotocol: subprotocol, AckOdds: 5, Patience: 90 * time.Second,
	}
}
