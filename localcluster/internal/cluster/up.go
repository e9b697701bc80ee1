package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/elastichub/elastichub/localcluster/internal/host"
	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

// Request is what the caller of Up wants.
type Request struct {
	// GPUs to advertise; nil leaves a running cluster's number, or means two.
	GPUs *int
	// Nodes that there are to be; nil leaves a running cluster's number, or means one.
	Nodes *int
	// Family of addresses; nil leaves a running cluster's, or means IPv4.
	Family *Family
	// Build makes the programs and returns their directory.
	Build func(context.Context) (string, error)
}

const defaultGPUs = 2

// Up makes sure that the cluster runs and is well.
func Up(ctx context.Context, l Layout, request Request, p *progress.Printer) error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed to run containers")
	}
	unlock, err := l.lock(ctx, p)
	if err != nil {
		return err
	}
	defer unlock()

	report, err := l.ReadReport()
	if err != nil {
		return err
	}
	if report.Supervisor.Alive() {
		if report.Phase == Starting || report.Phase == Running {
			return l.verify(ctx, request, p)
		}
		if err := p.Do("waiting for the earlier cluster to end", func() error { return report.Supervisor.Stop(2 * time.Minute) }); err != nil {
			return err
		}
	}

	missing, err := host.MissingPackages(ctx, host.RuntimePackages)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if err := p.Do(fmt.Sprintf("installing %d Debian packages", len(missing)), func() error {
			return host.InstallPackages(ctx, missing)
		}); err != nil {
			return err
		}
	}
	bin, err := request.Build(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(l.Dir); err == nil {
		if err := p.Do("clearing what an earlier cluster left", func() error { return l.clear(ctx) }); err != nil {
			return err
		}
	}
	options := Options{GPUs: defaultGPUs, Nodes: 1, Bin: bin, Family: IPv4}
	if request.Family != nil {
		options.Family = *request.Family
	}
	if err := options.fits(request.Nodes); err != nil {
		return err
	}
	if request.GPUs != nil {
		options.GPUs = *request.GPUs
	}
	if err := p.Do("preparing keys, configuration, network", func() error { return l.prepare(ctx, options) }); err != nil {
		return errors.Join(err, l.clear(context.WithoutCancel(ctx)))
	}
	supervisor, err := l.spawn()
	if err != nil {
		return err
	}
	if err := l.follow(ctx, supervisor, p); err != nil {
		// An interrupted start must not go on behind the caller's back.
		return errors.Join(err, supervisor.Stop(time.Minute))
	}
	if request.Nodes != nil {
		return l.resize(ctx, *request.Nodes, p)
	}
	return nil
}

func (l Layout) lock(ctx context.Context, p *progress.Printer) (func(), error) {
	return host.Lock(ctx, l.Lock(), func(holder string) {
		p.Say("waiting for another localcluster command (%s)", holder)
	})
}

// verify checks a cluster that runs already, and gives one that is just
// recovering half a minute.
func (l Layout) verify(ctx context.Context, request Request, p *progress.Printer) error {
	if request.Family != nil || request.Nodes != nil {
		options, err := l.readOptions()
		if err != nil {
			return err
		}
		if have := cmp.Or(options.Family, IPv4); request.Family != nil && *request.Family != have {
			return fmt.Errorf("the cluster runs with --ip-family %s, which cannot change: end it with down", have)
		}
		if err := options.fits(request.Nodes); err != nil {
			return err
		}
	}
	if request.GPUs != nil {
		options, err := l.readOptions()
		if err != nil {
			return err
		}
		options.GPUs = *request.GPUs
		if err := l.writeOptions(options); err != nil {
			return err
		}
	}
	if request.Nodes != nil {
		if err := l.resize(ctx, *request.Nodes, p); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		status, err := l.Status(ctx)
		if err != nil {
			return err
		}
		if status.Healthy() {
			p.Say("already up and healthy")
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster runs but is not healthy: %w", errors.Join(status.Faults()...))
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// prepare writes the state directory.
func (l Layout) prepare(ctx context.Context, options Options) error {
	if err := checkPorts(); err != nil {
		return err
	}
	ips, err := options.Family.nodeIPs()
	if err != nil {
		return err
	}
	options.NodeIP = ips[0]
	if len(ips) > 1 {
		options.NodeIP6 = ips[1]
	}
	for _, dir := range []string{"pki", "config", "logs", "volumes", "etcd"} {
		if err := os.MkdirAll(l.path(dir), 0o700); err != nil {
			return err
		}
	}
	for _, dir := range []string{l.Dir, l.volumes()} {
		if err := os.Chmod(dir, 0o711); err != nil {
			return err
		}
	}
	if err := l.writePKI(options.nodeIPs()...); err != nil {
		return err
	}
	if err := l.writeConfigs(l.firstNode(options)); err != nil {
		return err
	}
	for _, cgroup := range []string{l.cgroup(), l.cgroup() + "/shims"} {
		if err := host.CreateCgroup(cgroup); err != nil {
			return err
		}
	}
	options.Sysctls, err = options.Family.network().Setup(ctx)
	return errors.Join(err, l.writeOptions(options))
}

// checkPorts fails if somebody listens where a component is to: that component
// would die, and the stranger might answer in its place.
func checkPorts() error {
	var taken []error
	for _, port := range ports {
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			taken = append(taken, fmt.Errorf("port %d, which the cluster needs: %w", port, err))
			continue
		}
		listener.Close()
	}
	return errors.Join(taken...)
}

// spawn starts the supervisor in a session of its own.
func (l Layout) spawn() (host.Process, error) {
	log, err := os.OpenFile(l.Log("supervisor"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return host.Process{}, err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return host.Process{}, err
	}
	cmd := exec.Command(self, "supervise")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "ELASTICHUB_STATE="+filepath.Dir(l.Dir))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return host.Process{}, err
	}
	process, err := host.Identify(cmd.Process.Pid)
	if err != nil {
		return host.Process{}, err
	}
	// Reaped here if it ends while this process lives, so that it counts as gone.
	go func() { _ = cmd.Wait() }()
	return process, nil
}

// follow prints the steps of the start until the cluster runs, or has failed.
func (l Layout) follow(ctx context.Context, supervisor host.Process, p *progress.Printer) error {
	printed := 0
	for begin := time.Now(); ; {
		alive := supervisor.Alive() // before reading, so that the last report is read
		report, err := l.ReadReport()
		if err != nil {
			return err
		}
		for ; printed < len(report.Steps); printed++ {
			p.Say("%s ready: %s", report.Steps[printed].What, progress.Round(report.Steps[printed].Took))
		}
		switch {
		case report.Phase == Running:
			p.Say("cluster up in %s", progress.Round(time.Since(begin)))
			return nil
		case report.Phase == Failed && report.Culprit != "":
			return fmt.Errorf("%s\n--- end of its log:\n%s\n--- (localcluster logs %s)",
				report.Error, l.logTail(report.Culprit, 20), report.Culprit)
		case report.Phase == Failed:
			return errors.New(report.Error)
		case !alive:
			return fmt.Errorf("the supervisor ended\n--- end of its log:\n%s", l.logTail("supervisor", 20))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
