package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/localcluster/internal/host"
	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

// Down stops the cluster and removes its state.
func Down(ctx context.Context, l Layout, p *progress.Printer) error {
	unlock, err := l.lock(ctx, p)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(l.Dir); errors.Is(err, os.ErrNotExist) {
		p.Say("no cluster is there")
		return nil
	}
	report, err := l.ReadReport()
	if err != nil {
		return err
	}
	if report.Supervisor.Alive() {
		if err := p.Do("stopping Pods and components", func() error { return report.Supervisor.Stop(2 * time.Minute) }); err != nil {
			return err
		}
	}
	return p.Do("removing mounts, packet filter rules and cluster state", func() error { return l.clear(ctx) })
}

// clear removes everything a cluster whose supervisor is gone has left on the
// machine, however it ended. It can be repeated.
func (l Layout) clear(ctx context.Context) error {
	report, err := l.ReadReport()
	if err != nil {
		return err
	}
	var stops errgroup.Group
	for name, component := range report.Components {
		stops.Go(func() error {
			if err := component.Process.Stop(3 * time.Second); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	failed := []error{stops.Wait()}
	failed = append(failed, l.clearSecond(ctx))
	failed = append(failed, host.RemoveCgroup(l.cgroup()))
	failed = append(failed, host.UnmountBelow(l.Dir))
	options, err := l.readOptions()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		failed = append(failed, err)
	}
	failed = append(failed, network.Teardown(ctx, options.Sysctls))
	failed = append(failed, l.removeLogLinks())
	if err := errors.Join(failed...); err != nil {
		// The state stays, so that a second try knows what there is to clear.
		return err
	}
	return os.RemoveAll(l.Dir)
}

// removeLogLinks removes the links to container logs which every kubelet makes
// in one fixed place.
func (l Layout) removeLogLinks() error {
	links, err := filepath.Glob("/var/log/containers/*.log")
	if err != nil {
		return err
	}
	var failed []error
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, l.Dir+"/") {
			failed = append(failed, os.Remove(link))
		}
	}
	return errors.Join(failed...)
}
