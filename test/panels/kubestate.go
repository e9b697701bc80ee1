package panels

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// phases of a Pod; kube-state-metrics has a series for each.
var phases = []string{"Pending", "Succeeded", "Failed", "Unknown", "Running"}

// shown are the annotations that kube-state-metrics is told to show.
var shown = []string{"hub.jupyter.org/username", "hub.jupyter.org/servername"}

// KubeState tells of Pods, as the API server lists them, what kube-state-metrics would tell
// that dashboards join on: the same names, labels and spellings. kube-state-metrics itself
// is not used, since no registry has it.
func KubeState(pods []byte) ([]byte, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Namespace, Name, UID string
				Annotations          map[string]string
			}
			Spec struct {
				NodeName   string
				Containers []struct {
					Name      string
					Resources struct{ Requests map[string]string }
				}
			}
			Status struct{ Phase string }
		}
	}
	if err := json.Unmarshal(pods, &list); err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, pod := range list.Items {
		of := fmt.Sprintf("namespace=%q,pod=%q,uid=%q", pod.Metadata.Namespace, pod.Metadata.Name, pod.Metadata.UID)
		annotations := ""
		for _, name := range shown {
			if value, there := pod.Metadata.Annotations[name]; there {
				annotations += fmt.Sprintf(",annotation_%s=%q", snake(name), value)
			}
		}
		fmt.Fprintf(&b, "kube_pod_annotations{%s%s} 1\n", of, annotations)
		for _, phase := range phases {
			is := 0
			if phase == pod.Status.Phase {
				is = 1
			}
			fmt.Fprintf(&b, "kube_pod_status_phase{%s,phase=%q} %d\n", of, phase, is)
		}
		for _, c := range pod.Spec.Containers {
			for name, text := range c.Resources.Requests {
				value, err := quantity(text)
				if err != nil {
					return nil, fmt.Errorf("pod %s: %w", pod.Metadata.Name, err)
				}
				unit := "integer"
				switch name {
				case "cpu":
					unit = "core"
				case "memory":
					unit = "byte"
				}
				fmt.Fprintf(&b, "kube_pod_container_resource_requests{%s,container=%q,node=%q,resource=%q,unit=%q} %g\n", of, c.Name, pod.Spec.NodeName, snake(name), unit, value)
			}
		}
	}
	return []byte(b.String()), nil
}

var notSnake = regexp.MustCompile(`[^a-zA-Z0-9_]`)

func snake(name string) string { return notSnake.ReplaceAllString(name, "_") }

// quantity reads one of Kubernetes'.
func quantity(text string) (float64, error) {
	suffixes := []string{"m", "", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"}
	factors := []float64{1e-3, 1, 1e3, 1e6, 1e9, 1e12, 1 << 10, 1 << 20, 1 << 30, 1 << 40}
	number := strings.TrimRight(text, "mkMGTKi")
	at := slices.Index(suffixes, text[len(number):])
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || at < 0 {
		return 0, fmt.Errorf("%q is no quantity", text)
	}
	return value * factors[at], nil
}
