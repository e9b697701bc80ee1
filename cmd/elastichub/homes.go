package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/spawner/homes"
	"github.com/elastichub/elastichub/spawner/hubservers"
	"github.com/elastichub/elastichub/spawner/orphans"
)

// homeSources are who is asked whether people with homes are there. Groups that only a sign-in
// tells say nothing of people who do not sign in.
func homeSources(config serveConfig, members *directories, hub orphans.Hub) homes.Sources {
	var sources homes.Sources
	if hub != nil {
		sources.Hub = hub
	}
	if len(config.Groups.configured()) > 0 && len(members.signInReceivers) == 0 {
		sources.Directory = directoryOfPeople{members}
	}
	return sources
}

// directoryOfPeople asks the sources of groups who is there, and no memory.
type directoryOfPeople struct{ members groups.Members }

// Knows implements homes.Directory.
func (d directoryOfPeople) Knows(ctx context.Context, user string) (bool, error) {
	_, err := d.members.Refresh(ctx, user)
	if errors.Is(err, groups.ErrUnknownUser) {
		return false, nil
	}
	return err == nil, err
}

func homesCommand() *cobra.Command {
	var file, kubeconfig, namespace string
	command := &cobra.Command{
		Use:   "homes",
		Short: "List homes: whose, how large, when used last, whether their users are still there, and what becomes of them",
		Long: "List homes: whose, how large, when used last, whether their users are still there, and what becomes of them.\n" +
			"It changes nothing.\n\n" +
			"In the service's Pod, with --config, it asks the Hub and the directory. Elsewhere it tells what the service\n" +
			"has noted. What is used of a home is asked of the kubelet while a Pod has it, where the caller may get\n" +
			"nodes/proxy; it is unknown otherwise, and where the volume is a part of a file system that others share.",
		Example: "  elastichub homes -n jupyterhub\n  kubectl -n jupyterhub exec deploy/elastichub -- elastichub homes --config /etc/elastichub/config.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := defaultServeConfig()
			var sources homes.Sources
			if file != "" {
				var err error
				if config, err = loadServeConfig(file, os.Environ()); err != nil {
					return err
				}
				if namespace == "" {
					namespace = config.Namespace
				}
				registry := prometheus.NewRegistry()
				members, err := newDirectories(config.Groups, registry)
				if err != nil {
					return err
				}
				defer members.Close()
				var hub orphans.Hub
				if config.Hub.APIURL != "" {
					asked, err := hubclient.New(config.Hub)
					if err != nil {
						return fmt.Errorf("hub: %w", err)
					}
					defer asked.Close()
					hub = hubservers.New(asked)
				}
				sources = homeSources(config, members, hub)
			}
			cluster, err := clusterConfig(kubeconfig, &namespace)
			if err != nil {
				return fmt.Errorf("the cluster cannot be asked: %w", err)
			}
			cluster.QPS, cluster.Burst = 50, 100
			return listHomes(cmd.Context(), cluster, sources, config.homesLeft(namespace), file != "", cmd.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.StringVar(&file, "config", "", "configuration file of the service, YAML: the Hub and the directory are asked by it")
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that says which cluster, and as whom; otherwise what KUBECONFIG names")
	flags.StringVarP(&namespace, "namespace", "n", "", "namespace of the release; otherwise the one of the kubeconfig")
	return command
}

// listHomes lists those of a namespace. Only with the service's configuration it is known what
// becomes of those whose users left.
func listHomes(ctx context.Context, cluster *rest.Config, sources homes.Sources, cfg homes.Config, configured bool, out io.Writer) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	reader, err := client.New(cluster, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("kubernetes: %w", err)
	}
	found, err := homes.Look(ctx, reader, sources, cfg.Namespace, time.Now())
	if err != nil && found == nil {
		return err
	}
	if err != nil { // what the cluster says is told all the same
		fmt.Fprintln(out, "Nobody can tell who is still there:", err)
	}
	used := usedBytes(ctx, cluster, reader, found)
	return writeHomes(out, found, used, cfg, configured)
}

func writeHomes(out io.Writer, found []homes.Home, used map[string]int64, cfg homes.Config, configured bool) error {
	slices.SortFunc(found, func(a, b homes.Home) int {
		return strings.Compare(a.User+"\n"+a.Object().GetName(), b.User+"\n"+b.Object().GetName())
	})
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "USER\tHOME\tSIZE\tUSED\tLAST USE\tUSER IS\tSERVER\tFATE")
	left := 0
	for _, h := range found {
		size, place := "unknown", ""
		if claim, directory := h.Volume(); directory != "" { // how much one has of it nobody knows
			place = claim + "/" + directory
		} else {
			place, size = claim, sizeOf(h.Claim)
		}
		usedText, lastText, serverText, is, fate := "unknown", "unknown", "none", string(h.Standing), ""
		if bytes, known := used[place]; known {
			usedText = fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
		}
		switch {
		case h.Mounted:
			lastText = "now"
		case !h.LastUse.IsZero():
			lastText = h.LastUse.UTC().Format(time.RFC3339)
		}
		switch {
		case len(h.Running) > 0:
			serverText = strings.Join(h.Running, ",") + " runs"
		case len(h.Servers) > 0:
			serverText = strings.Join(h.Servers, ",") + " is stopped"
		}
		since := h.GoneSince()
		switch {
		case !since.IsZero() && h.Standing != homes.Present:
			is = "left, noted " + since.UTC().Format(time.RFC3339)
		case h.Standing == homes.Left:
			is = "left, " + string(h.Reason)
		}
		if h.Standing == homes.Left || h.Standing == homes.Unclear || h.Standing == homes.Unknown && !since.IsZero() {
			left++
		}
		if configured {
			fate = homes.Fate(h, cfg)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.User, place, size, usedText, lastText, is, serverText, fate)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d homes, %d of people who left or may have.\n", len(found), left)
	return err
}

// sizeOf is what a claim has, or asks for.
func sizeOf(claim *corev1.PersistentVolumeClaim) string {
	if has := claim.Status.Capacity.Storage(); !has.IsZero() {
		return has.String()
	}
	return claim.Spec.Resources.Requests.Storage().String()
}

// usedBytes is what kubelets say is used of homes that Pods have now, by their claims. Where the
// caller may not ask, or the volume is not the claim's own file system, nothing is known.
func usedBytes(ctx context.Context, cluster *rest.Config, reader client.Reader, found []homes.Home) map[string]int64 {
	used := map[string]int64{}
	if len(found) == 0 || !slices.ContainsFunc(found, func(h homes.Home) bool { return h.Mounted }) {
		return used
	}
	namespace := found[0].Object().GetNamespace()
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return used
	}
	nodes := map[string]bool{}
	for i := range pods.Items {
		if name := pods.Items[i].Spec.NodeName; name != "" {
			nodes[name] = true
		}
	}
	asker, err := kubeletsOf(cluster)
	if err != nil {
		return used
	}
	for node := range nodes {
		raw, err := asker.Get().AbsPath("/api/v1/nodes", node, "proxy/stats/summary").Timeout(askTime).DoRaw(ctx)
		if err != nil {
			continue
		}
		addUsed(used, raw, namespace, found)
	}
	return used
}

// sharedBeyond: a volume that says to be so much larger than its claim is a file system that others share.
const sharedBeyond = 1.1

// addUsed reads a kubelet's summary.
func addUsed(used map[string]int64, raw []byte, namespace string, found []homes.Home) {
	var summary struct {
		Pods []struct {
			Volume []struct {
				UsedBytes     *int64
				CapacityBytes int64
				PVCRef        *struct{ Name, Namespace string } `json:"pvcRef"`
			}
		}
	}
	if err := json.Unmarshal(raw, &summary); err != nil {
		return
	}
	for _, pod := range summary.Pods {
		for _, volume := range pod.Volume {
			if volume.PVCRef == nil || volume.PVCRef.Namespace != namespace || volume.UsedBytes == nil {
				continue
			}
			for _, h := range found {
				if h.Claim == nil {
					continue
				}
				capacity := h.Claim.Status.Capacity.Storage().Value()
				if h.Claim.Name == volume.PVCRef.Name && capacity > 0 && float64(volume.CapacityBytes) <= sharedBeyond*float64(capacity) {
					used[h.Claim.Name] = *volume.UsedBytes
				}
			}
		}
	}
}

// kubeletsOf asks kubelets through the API server.
func kubeletsOf(cluster *rest.Config) (rest.Interface, error) {
	api, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	return api.CoreV1().RESTClient(), nil
}
