package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

// startTimeout bounds the start of a component that neither answers nor dies.
const startTimeout = 2 * time.Minute

// stopPatience is short, since nothing is kept: the API server would wait much
// longer for its watchers to go.
const stopPatience = time.Second

// Supervise runs the cluster in this process until ctx ends, and then takes
// its processes and Pods away. The state directory must have been prepared.
func Supervise(ctx context.Context, l Layout) error {
	self, err := host.Identify(os.Getpid())
	if err != nil {
		return err
	}
	options, err := l.readOptions()
	if err != nil {
		return err
	}
	klog.SetSlogLogger(slog.Default())
	s := &supervisor{
		layout: l, options: options,
		reporter: &reporter{file: l.report(), report: Report{
			Supervisor: self, Since: time.Now(), Phase: Starting, Nodes: 1, Components: make(map[string]ComponentProcess),
		}},
	}
	background, stopBackground := context.WithCancel(context.Background())
	startError := s.start(ctx, background)
	if startError == nil {
		s.report(func(r *Report) { r.Phase = Running })
		slog.Info("cluster is up")
		<-ctx.Done()
		s.report(func(r *Report) { r.Phase = Stopping })
	}
	slog.Info("stopping")
	stopBackground()
	s.controllers.Wait()
	s.stopSecond()
	s.stopStages(l, s.stages)
	if startError != nil {
		// Last, so that whoever reads it finds everything ended.
		s.report(func(r *Report) {
			r.Phase, r.Error = Failed, startError.Error()
			var failure *componentError
			if errors.As(startError, &failure) {
				r.Culprit = failure.component
			}
		})
	}
	return startError
}

type supervisor struct {
	layout   Layout
	options  Options
	reporter *reporter
	stages   [][]*runner
	second   [][]*runner // of the second node
	reserved string      // what the first node's kubelet does not promise
	// controllers are the loops that run in this process.
	controllers sync.WaitGroup
}

// componentError is the failure of a component to start.
type componentError struct {
	component string
	err       error
}

func (e *componentError) Error() string { return e.err.Error() }
func (e *componentError) Unwrap() error { return e.err }

func (s *supervisor) report(change func(*Report)) {
	if err := s.reporter.update(change); err != nil {
		slog.Error("write report", "error", err)
	}
}

// step runs one part of the start and reports it.
func (s *supervisor) step(what string, do func() error) error {
	begin := time.Now()
	if err := do(); err != nil {
		return err
	}
	took := time.Since(begin)
	slog.Info("done", "step", what, "took", took)
	s.report(func(r *Report) { r.Steps = append(r.Steps, Step{What: what, Took: took}) })
	return nil
}

// start brings everything up; background is the life of what it leaves running.
func (s *supervisor) start(ctx, background context.Context) error {
	stages := s.layout.stages(s.options)
	if err := s.startStage(ctx, stages[0]); err != nil {
		return err
	}
	// A group ends its other members at the first error, and waits for them.
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.step("own images", func() error { return s.loadOwnImages(groupCtx) }) })
	group.Go(func() error { return s.startStage(groupCtx, stages[1]) })
	if err := group.Wait(); err != nil {
		return err
	}
	client, err := s.layout.Client()
	if err != nil {
		return err
	}
	group, groupCtx = errgroup.WithContext(ctx)
	group.Go(func() error { return s.step("add-ons", func() error { return s.applyAddons(groupCtx) }) })
	group.Go(func() error { return s.startStage(groupCtx, stages[2]) })
	if err := group.Wait(); err != nil {
		return err
	}
	s.startControllers(background, client)
	if err := s.step("node", func() error {
		return waitFor(ctx, "node", nil, func(ctx context.Context) error {
			return s.layout.probeNode(ctx, client, s.options.GPUs)
		})
	}); err != nil {
		return err
	}
	return s.step("DNS", func() error {
		return waitFor(ctx, "DNS", nil, func(ctx context.Context) error { return s.layout.probeDNS(ctx, client) })
	})
}

func (s *supervisor) startStage(ctx context.Context, components []Component) error {
	stage, err := s.launch(ctx, components)
	s.stages = append(s.stages, stage)
	return err
}

// launch starts components and waits until they are well. What it returns has been
// started and has to be stopped, also with an error.
func (s *supervisor) launch(ctx context.Context, components []Component) ([]*runner, error) {
	var stage []*runner
	for _, component := range components {
		stage = append(stage, newRunner(component, s.layout.Log(component.Name), func(process ComponentProcess) {
			s.report(func(r *Report) { r.Components[component.Name] = process })
		}))
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, r := range stage {
		go r.run()
		group.Go(func() error {
			return s.step(r.component.Name, func() error {
				return waitFor(ctx, r.component.Name, r.died, r.component.Probe)
			})
		})
	}
	return stage, group.Wait()
}

// waitFor polls a probe until it succeeds. A death, if there is one to watch
// for, ends the wait at once.
func waitFor(ctx context.Context, name string, died <-chan error, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case death := <-died:
			return &componentError{component: name, err: death}
		case <-ctx.Done():
			return &componentError{component: name, err: fmt.Errorf("%s is not ready (%w): %w", name, context.Cause(ctx), err)}
		case <-tick.C:
		}
	}
}

func (s *supervisor) loadOwnImages(ctx context.Context) error {
	for image, program := range map[string]string{pauseImage: "pause", corednsImage: "coredns"} {
		if err := s.layout.ImportImage(ctx, func(w io.Writer) error {
			return writeStaticImage(w, image, filepath.Join(s.options.Bin, program))
		}); err != nil {
			return fmt.Errorf("load %s: %w", image, err)
		}
	}
	return nil
}

func (s *supervisor) applyAddons(ctx context.Context) error {
	manifest, err := render("addons.yaml.tmpl", s.layout.settings(s.layout.firstNode(s.options), ""))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.options.Bin, "kubectl"),
		"--kubeconfig", s.layout.Kubeconfig(), "--cache-dir", s.layout.path("kubectl-cache"),
		"apply", "--server-side", "--filename", "-")
	cmd.Stdin = bytes.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apply the add-ons: %w\n%s", err, host.LastLines(string(out), 10))
	}
	return nil
}

func (s *supervisor) startControllers(ctx context.Context, client kubernetes.Interface) {
	provisioner := controller.NewProvisionController(ctx, client, provisionerName, directories{root: s.layout.volumes()},
		controller.LeaderElection(false), controller.RetryIntervalMax(5*time.Second))
	for _, loop := range []func(){
		func() { s.layout.advertiseGPUs(ctx, client) },
		func() { provisioner.Run(ctx) },
		func() { s.keepNodes(ctx, client) },
	} {
		s.controllers.Add(1)
		go func() {
			defer s.controllers.Done()
			loop()
		}()
	}
}

// stopStages ends the components of a layout, those that started last first, and the Pods
// while containerd, which is in the first stage, is still there to do it.
func (s *supervisor) stopStages(l Layout, stages [][]*runner) {
	for i := len(stages) - 1; i >= 0; i-- {
		if i == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			if err := l.removePods(ctx); err != nil {
				slog.Error("remove Pods", "error", err)
			}
			cancel()
		}
		var wait sync.WaitGroup
		for _, r := range stages[i] {
			wait.Add(1)
			go func() {
				defer wait.Done()
				begin := time.Now()
				r.stop(stopPatience)
				slog.Info("stopped", "component", r.component.Name, "took", time.Since(begin))
			}()
		}
		wait.Wait()
	}
}
