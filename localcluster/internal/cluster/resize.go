package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

// leavePatience is how long the Pods of a node that is removed may take to end.
const leavePatience = 30 * time.Second

// resize has the running supervisor add or remove the second node, and prints its steps.
func (l Layout) resize(ctx context.Context, nodes int, p *progress.Printer) error {
	report, err := l.ReadReport()
	if err != nil {
		return err
	}
	switch {
	case report.Nodes == 0 && nodes > 1:
		return errors.New("the cluster was started by a release of localcluster that knows one node: `localcluster down` first")
	case report.Nodes == 0:
		return nil
	case nodes > 1:
		if err := l.second().fits(); err != nil {
			return err
		}
	}
	if report.NodesError != "" { // of an earlier try
		if err := l.want(ctx, report.Nodes); err != nil {
			return err
		}
	}
	printed := len(report.Steps)
	if err := l.setNodes(nodes); err != nil {
		return err
	}
	for {
		report, err := l.ReadReport()
		if err != nil {
			return err
		}
		for ; printed < len(report.Steps); printed++ {
			p.Say("%s ready: %s", report.Steps[printed].What, progress.Round(report.Steps[printed].Took))
		}
		switch {
		case report.NodesError != "":
			return errors.Join(errors.New(report.NodesError), l.want(ctx, report.Nodes))
		case !report.Supervisor.Alive():
			return ErrDown
		case report.Nodes == nodes:
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), l.setNodes(report.Nodes))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// want sets the number of nodes to what there is, and waits until the supervisor has
// forgotten what it failed at.
func (l Layout) want(ctx context.Context, nodes int) error {
	if err := l.setNodes(nodes); err != nil {
		return err
	}
	return waitFor(ctx, "supervisor", nil, func(context.Context) error {
		report, err := l.ReadReport()
		if err == nil && report.NodesError != "" {
			err = errors.New(report.NodesError)
		}
		return err
	})
}

func (l Layout) setNodes(nodes int) error {
	options, err := l.readOptions()
	if err != nil {
		return err
	}
	options.Nodes = nodes
	return l.writeOptions(options)
}

// keepNodes adds and removes the second node as the options say, until ctx ends.
func (s *supervisor) keepNodes(ctx context.Context, client kubernetes.Interface) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	nodes, failed := 1, 0
	for {
		options, err := s.layout.readOptions()
		switch want := max(options.Nodes, 1); {
		case err != nil:
			slog.Warn("read options", "error", err)
		case want == nodes:
			if failed != 0 {
				failed = 0
				s.report(func(r *Report) { r.NodesError = "" })
			}
		case want == failed:
			// Nobody has changed their mind.
		default:
			if want > 1 {
				err = s.join(ctx, client)
			} else {
				err = s.leave(ctx, client)
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				failed = want
				slog.Error("change the number of nodes", "nodes", want, "error", err)
				s.report(func(r *Report) { r.NodesError = err.Error() })
				break
			}
			nodes = want
			s.report(func(r *Report) { r.Nodes = nodes })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// join adds the second node, or leaves nothing of it.
func (s *supervisor) join(ctx context.Context, client kubernetes.Interface) error {
	err := s.tryToJoin(ctx, client)
	if err == nil || ctx.Err() != nil { // then all ends
		return err
	}
	var failure *componentError
	if errors.As(err, &failure) && strings.HasSuffix(failure.component, secondSuffix) {
		err = fmt.Errorf("%w\n--- end of its log:\n%s", err, s.layout.logTail(failure.component, 20))
	}
	return errors.Join(err, s.leave(ctx, client))
}

func (s *supervisor) tryToJoin(ctx context.Context, client kubernetes.Interface) error {
	first, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	half := halves(first.Status.Capacity)
	pods, err := unfinished(ctx, client)
	if err != nil {
		return err
	}
	if err := fits(pods, half); err != nil {
		return err
	}
	if err := s.step("second node's network", func() error {
		return s.layout.prepareSecond(ctx, s.options, systemReserved(half))
	}); err != nil {
		return err
	}
	stages := s.layout.secondStages(s.options)
	if err := s.launchSecond(ctx, stages[0]); err != nil {
		return err
	}
	if err := s.step("second node's images", func() error {
		return s.layout.copyImages(ctx, s.layout.second())
	}); err != nil {
		return err
	}
	if err := s.step("half of the machine for each", func() error { return s.promise(ctx, client, half) }); err != nil {
		return err
	}
	if err := s.launchSecond(ctx, stages[1]); err != nil {
		return err
	}
	return s.step("second node", func() error {
		return waitFor(ctx, secondName, nil, func(ctx context.Context) error { return probeSecond(ctx, client) })
	})
}

func (s *supervisor) launchSecond(ctx context.Context, stage []Component) error {
	runners, err := s.launch(ctx, stage)
	s.second = append(s.second, runners)
	return err
}

// leave removes the second node: its Pods end first, and volumes that are on it wait for
// its return.
func (s *supervisor) leave(ctx context.Context, client kubernetes.Interface) error {
	cordon := []byte(`{"spec":{"unschedulable":true}}`)
	_, err := client.CoreV1().Nodes().Patch(ctx, secondName, types.StrategicMergePatchType, cordon, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err := s.step("whole machine for the first node", func() error { return s.promise(ctx, client, nil) }); err != nil {
		return err
	}
	if err := s.step("end of the second node's Pods", func() error { return s.empty(ctx, client) }); err != nil {
		return err
	}
	if err := s.step("end of the second node", func() error {
		s.stopSecond()
		return s.layout.clearSecond(ctx)
	}); err != nil {
		return err
	}
	s.report(func(r *Report) {
		for name := range r.Components {
			if strings.HasSuffix(name, secondSuffix) {
				delete(r.Components, name)
			}
		}
	})
	if err := client.CoreV1().Nodes().Delete(ctx, secondName, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return s.forget(ctx, client, new(int64))
}

// empty ends the Pods of the second node, without asking disruption budgets, and waits
// for them, within bounds.
func (s *supervisor) empty(ctx context.Context, client kubernetes.Interface) error {
	if err := s.forget(ctx, client, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	err := waitFor(ctx, secondName, nil, func(ctx context.Context) error {
		pods, err := unfinished(ctx, client)
		if err != nil {
			return err
		}
		for _, pod := range pods {
			if pod.Spec.NodeName == secondName {
				return fmt.Errorf("the Pod %s/%s has not ended", pod.Namespace, pod.Name)
			}
		}
		return nil
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		slog.Warn("Pods of the second node are ended by force", "error", err)
		return nil
	}
	return err
}

// forget deletes the second node's Pods, with that grace or their own.
func (s *supervisor) forget(ctx context.Context, client kubernetes.Interface, grace *int64) error {
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + secondName})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		err := client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: grace})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func probeSecond(ctx context.Context, client kubernetes.Interface) error {
	second, err := client.CoreV1().Nodes().Get(ctx, secondName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return ready(second)
}

// stopSecond ends the second node's components, the last first, and its Pods while its
// containerd is there.
func (s *supervisor) stopSecond() {
	s.stopStages(s.layout.second(), s.second)
	s.second = nil
}
