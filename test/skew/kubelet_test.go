package skew

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/test/loopback"
)

// kubelet runs the Pods of kernels as processes of this machine, with the binary of a release.
type kubelet struct {
	w  *world
	mu sync.Mutex
	// release is whose agent the next Pod has: it stands for the Pod's image.
	release release
}

func (k *kubelet) use(r release) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.release = r
}

// runKubelet plays one until the test ends.
func (w *world) runKubelet() {
	ctx, cancel := context.WithCancel(context.Background())
	w.kubelet = &kubelet{w: w}
	var pods sync.WaitGroup
	pods.Go(func() {
		known := map[string]bool{}
		for ; ctx.Err() == nil; time.Sleep(often) {
			var list corev1.PodList
			_ = w.api.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelComponent: v1alpha1.ComponentKernel})
			for i := range list.Items {
				if pod := &list.Items[i]; !known[string(pod.UID)] && pod.DeletionTimestamp == nil {
					known[string(pod.UID)] = true
					pods.Go(func() { w.kubelet.run(ctx, pod) })
				}
			}
		}
	})
	w.t.Cleanup(func() { cancel(); pods.Wait() })
}

// run is one Pod from its start to its end.
func (k *kubelet) run(ctx context.Context, pod *corev1.Pod) {
	k.mu.Lock()
	binary := k.release.binary
	k.mu.Unlock()
	w, ip, dir := k.w, loopback.IP(), k.w.t.TempDir()
	socket, said := filepath.Join(dir, "agent", "control"), filepath.Join(dir, "termination-log")
	container := pod.Spec.Containers[0]
	files := w.mount(pod.Spec.Volumes, container.VolumeMounts)
	agent := run(w.t, append(w.variables(container.Env, files),
		protocol.EnvListen+"="+ip+":8443", protocol.EnvSocket+"="+socket, protocol.EnvTerminationLog+"="+said), binary, "agent")
	argv := pod.Spec.Containers[1].Command
	argv = append([]string{w.python}, argv[slices.Index(argv, "--")+2:]...)
	kernel := run(w.t, nil, binary, append([]string{"run-kernel", "--socket", socket, "--files", filepath.Join(dir, "kernel"), "--"}, argv...)...)
	defer func() { <-kernel.ended }()

	k.say(ctx, pod, func(s *corev1.PodStatus) {
		s.Phase, s.PodIP, s.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
		for _, c := range pod.Spec.Containers {
			s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}})
		}
	})
	probe := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	ready, asked := false, false
	for {
		select {
		case <-agent.ended:
			message, _ := os.ReadFile(said)
			k.say(context.WithoutCancel(ctx), pod, func(s *corev1.PodStatus) {
				s.Phase = corev1.PodSucceeded
				s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
				for i := range s.ContainerStatuses {
					ended := &corev1.ContainerStateTerminated{ExitCode: 0, FinishedAt: metav1.Now()}
					if s.ContainerStatuses[i].Name == container.Name {
						ended.ExitCode, ended.Message = int32(agent.command.ProcessState.ExitCode()), string(message)
					}
					s.ContainerStatuses[i].State = corev1.ContainerState{Terminated: ended}
				}
			})
			return
		case <-ctx.Done():
			agent.kill()
			kernel.kill()
			return
		case <-time.After(often):
		}
		now := &corev1.Pod{}
		if gone := apierrors.IsNotFound(w.api.Get(ctx, client.ObjectKeyFromObject(pod), now)); !asked && (gone || now.DeletionTimestamp != nil) {
			asked = true
			agent.terminate()
			kernel.terminate()
		}
		if resp, err := probe.Get("https://" + ip + ":8443" + protocol.PathReady); err == nil {
			resp.Body.Close()
			if is := resp.StatusCode == http.StatusOK; is != ready {
				ready = is
				k.say(ctx, pod, func(s *corev1.PodStatus) {
					s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
				})
			}
		}
	}
}

// say writes a Pod's status.
func (k *kubelet) say(ctx context.Context, pod *corev1.Pod, change func(*corev1.PodStatus)) {
	now := &corev1.Pod{}
	if k.w.api.Get(ctx, client.ObjectKeyFromObject(pod), now) != nil || now.UID != pod.UID {
		return
	}
	before := now.DeepCopy()
	change(&now.Status)
	_ = k.w.api.Status().Patch(ctx, now, client.MergeFrom(before)) // it may be gone
}
