package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/test/agentpod"
	"github.com/elastichub/elastichub/test/loopback"
)

const (
	pauseTime  = 50 * time.Millisecond
	probeDelay = 300 * time.Millisecond
)

func pause() <-chan time.Time { return time.After(pauseTime) }

// pods plays controllers and kubelet: each run of a kernel is an agent in this
// process, with a kernel of its own.
type pods struct {
	api       client.Client
	namespace string
	key       []byte
	python    string
	log       *slog.Logger
	work      sync.WaitGroup
	done      chan struct{}
}

func newPods(api client.Client, namespace string, key []byte, python string, log *slog.Logger) *pods {
	return &pods{api: api, namespace: namespace, key: key, python: python, log: log, done: make(chan struct{})}
}

func (p *pods) wait() {
	<-p.done
	p.work.Wait()
}

func (p *pods) run(ctx context.Context) {
	defer close(p.done)
	runs := map[string]int64{}
	ends := map[string]context.CancelFunc{}
	for {
		var list v1alpha1.JupyterKernelList
		if p.api.List(ctx, &list, client.InNamespace(p.namespace)) == nil {
			there := map[string]bool{}
			for i := range list.Items {
				k := &list.Items[i]
				there[k.Name] = true
				if runs[k.Name] < k.Spec.Run {
					runs[k.Name] = k.Spec.Run
					var run context.Context
					run, ends[k.Name] = context.WithCancel(ctx)
					p.work.Go(func() { p.pod(run, k) })
				}
			}
			for name, end := range ends {
				if !there[name] {
					end()
				}
			}
		}
		select {
		case <-ctx.Done():
			for _, end := range ends {
				end()
			}
			return
		case <-pause():
		}
	}
}

// pod is one run of a kernel, from the queue to its end.
func (p *pods) pod(ctx context.Context, k *v1alpha1.JupyterKernel) {
	run := k.Spec.Run
	update := func(change func(*v1alpha1.JupyterKernelStatus)) {
		now := &v1alpha1.JupyterKernel{}
		if p.api.Get(ctx, client.ObjectKeyFromObject(k), now) != nil {
			return
		}
		now.Status.Run = run
		change(&now.Status)
		if err := p.api.Status().Update(ctx, now); err != nil {
			p.log.Error("status not written", "kernel", k.Name, "error", err)
		}
	}
	secret, err := keys.Derive(p.key, string(k.UID), run)
	if err != nil {
		p.log.Error("no secret", "error", err)
		return
	}
	ip := loopback.IP()
	cfg := agent.DefaultConfig()
	cfg.Secret, cfg.KernelID, cfg.KernelName = secret, k.Name, k.Spec.KernelSpec
	cfg.Listen, cfg.TerminationLog = fmt.Sprintf("%s:%d", ip, protocol.Port), ""
	cfg.Log = p.log
	update(func(s *v1alpha1.JupyterKernelStatus) {
		s.Phase, s.PodIP = v1alpha1.KernelStarting, ip
	})
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		h := &http.Client{Transport: &http.Transport{TLSClientConfig: secret.ClientTLS(), DisableKeepAlives: true}, Timeout: time.Second}
		for ctx.Err() == nil {
			if resp, err := h.Get("https://" + cfg.Listen + protocol.PathReady); err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					// A kubelet's probe comes late, too.
					time.Sleep(probeDelay)
					update(func(s *v1alpha1.JupyterKernelStatus) {
						now := metav1.Now()
						s.Phase, s.ReadyTime = v1alpha1.KernelReady, &now
					})
					return
				}
			}
			<-pause()
		}
	}()
	result, err := agentpod.Run(ctx, cfg, []string{p.python, "-m", "ipykernel_launcher", "-f", protocol.ConnectionFile}, io.Discard, os.DevNull)
	p.log.Info("run ended", "kernel", k.Name, "reason", result.Reason, "message", result.Message, "error", err)
	<-ready
	update(func(s *v1alpha1.JupyterKernelStatus) {
		s.Phase, s.Cause, s.Message, s.PodIP = v1alpha1.KernelDead, v1alpha1.CauseKernelExited, "", ""
		if result.Reason == protocol.ReasonIdle {
			s.Phase, s.Cause = v1alpha1.KernelParked, v1alpha1.CauseIdle
		}
		if result.Reason == protocol.ReasonShutdown {
			s.Cause = v1alpha1.CauseShutdown
		}
	})
}
