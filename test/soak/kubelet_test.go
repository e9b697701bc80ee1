package soak

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/agent/runkernel"
	"github.com/elastichub/elastichub/test/agentpod"
	"github.com/elastichub/elastichub/test/lockedbuffer"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/test/movedclock"
)

// kubelet plays the Pods of kernels. Agents are in this process, or, if asProcesses, those of the binary.
type kubelet struct {
	w           *world
	asProcesses bool
	pods        atomic.Int64
	probes      *http.Client
	logs        sync.Map // name of a Pod that runs → *lockedbuffer.Buffer, of its agent and its kernel
}

func (w *world) runKubelet() {
	ctx, cancel := context.WithCancel(context.Background())
	w.kubelet = &kubelet{w: w, probes: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // as a kubelet's
	}}}
	var pods sync.WaitGroup
	pods.Go(func() {
		known := map[types.UID]context.CancelFunc{}
		for ; ctx.Err() == nil; time.Sleep(5 * often) {
			var list corev1.PodList
			if w.api.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelComponent: v1alpha1.ComponentKernel}) != nil {
				continue
			}
			there := map[types.UID]bool{}
			for i := range list.Items {
				pod := &list.Items[i]
				there[pod.UID] = pod.DeletionTimestamp == nil
				if known[pod.UID] == nil && there[pod.UID] {
					one, end := context.WithCancel(ctx)
					known[pod.UID] = end
					pods.Go(func() { w.kubelet.run(one, pod) })
				}
			}
			for uid, end := range known {
				if is, exists := there[uid]; !is {
					end()
					if !exists {
						delete(known, uid)
					}
				}
			}
		}
		for _, end := range known {
			end()
		}
	})
	w.t.Cleanup(func() { cancel(); pods.Wait() })
}

// run is one Pod from its start to its end, which is the agent's or that of ctx.
func (k *kubelet) run(ctx context.Context, pod *corev1.Pod) {
	k.pods.Add(1)
	dir, err := os.MkdirTemp(k.w.dir, "pod-")
	if err != nil {
		return
	}
	defer os.RemoveAll(dir)
	ip, said := loopback.IP(), filepath.Join(dir, "termination-log")
	env := variables(pod.Spec.Containers[0].Env, k.w.mount(ctx, dir, pod.Spec.Volumes, pod.Spec.Containers[0].VolumeMounts))
	env = append(env, protocol.EnvListen+"="+ip+":8443", protocol.EnvTerminationLog+"="+said, protocol.EnvSocket+"="+filepath.Join(dir, "agent", "control"))
	argv := []string{k.w.kernel, protocol.ConnectionFile}
	code := make(chan int, 1)
	if k.asProcesses {
		go func() { code <- k.processes(ctx, dir, env, argv) }()
	} else {
		log := &lockedbuffer.Buffer{}
		k.logs.Store(pod.Name, log)
		defer k.logs.Delete(pod.Name)
		go func() { code <- inProcess(ctx, env, argv, log) }()
	}
	k.say(ctx, pod, func(s *corev1.PodStatus) {
		s.Phase, s.PodIP, s.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
		for _, c := range pod.Spec.Containers {
			s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}})
		}
	})
	for ready := false; ; {
		pause := often
		if ready {
			pause = time.Second
		}
		select {
		case ended := <-code:
			message, _ := os.ReadFile(said)
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			k.say(last, pod, func(s *corev1.PodStatus) {
				s.Phase = corev1.PodSucceeded
				s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
				for i := range s.ContainerStatuses {
					over := &corev1.ContainerStateTerminated{FinishedAt: metav1.Now()}
					if s.ContainerStatuses[i].Name == pod.Spec.Containers[0].Name {
						over.ExitCode, over.Message = int32(ended), string(message) //nolint:gosec // an exit code
					}
					s.ContainerStatuses[i].State = corev1.ContainerState{Terminated: over}
				}
			})
			return
		case <-time.After(pause):
		}
		if ready {
			continue
		}
		if resp, err := k.probes.Get("https://" + ip + ":8443" + protocol.PathReady); err == nil {
			_ = resp.Body.Close()
			if ready = resp.StatusCode == http.StatusOK; ready {
				k.say(ctx, pod, func(s *corev1.PodStatus) {
					s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
				})
			}
		}
	}
}

func inProcess(ctx context.Context, env, argv []string, log io.Writer) int {
	given := map[string]string{}
	for _, one := range env {
		name, value, _ := strings.Cut(one, "=")
		given[name] = value
	}
	cfg, err := agent.ConfigFromEnv(func(name string) (string, bool) { value, ok := given[name]; return value, ok })
	if err != nil {
		return 1
	}
	cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	result, err := agentpod.RunContainer(ctx, cfg, argv, runkernel.Config{Output: log, Cgroup: os.DevNull, GPUTools: []string{os.DevNull}})
	if err != nil {
		return 1
	}
	return result.Code()
}

func (k *kubelet) processes(ctx context.Context, dir string, env, argv []string) int {
	// They have no control group of their own: what all of this machine computes would be the kernel's.
	env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+dir, protocol.EnvBusyCPU+"=0")
	if k.w.clock != nil {
		env = append(env, movedclock.Variable+"="+k.w.clock.File)
	}
	start := func(args ...string) *exec.Cmd {
		c := exec.Command(k.w.binary, args...)
		c.Env = env
		_ = c.Start()
		return c
	}
	agent := start("agent")
	kernel := start(append([]string{"run-kernel", "--socket", filepath.Join(dir, "agent", "control"), "--files", filepath.Join(dir, "kernel"), "--"}, argv...)...)
	stop := context.AfterFunc(ctx, func() { _ = agent.Process.Signal(syscall.SIGTERM) })
	defer stop()
	_ = agent.Wait()
	_ = kernel.Process.Kill()
	_ = kernel.Wait()
	return agent.ProcessState.ExitCode()
}

// say writes a Pod's status, again until the API server has taken it or the Pod is gone.
func (k *kubelet) say(ctx context.Context, pod *corev1.Pod, change func(*corev1.PodStatus)) {
	for ; ctx.Err() == nil; time.Sleep(5 * often) {
		now := &corev1.Pod{}
		err := k.w.api.Get(ctx, client.ObjectKeyFromObject(pod), now)
		if apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID {
			return
		}
		if err != nil {
			continue
		}
		before := now.DeepCopy()
		change(&now.Status)
		if client.IgnoreNotFound(k.w.api.Status().Patch(ctx, now, client.MergeFrom(before))) == nil {
			return
		}
	}
}
