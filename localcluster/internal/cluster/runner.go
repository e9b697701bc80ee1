package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

const (
	firstPause = 500 * time.Millisecond
	longPause  = 30 * time.Second
	// A component that ran this long before it died starts again at once.
	steady = time.Minute
)

// runner keeps one component running until it is told to stop.
type runner struct {
	component Component
	log       string
	started   func(ComponentProcess)

	stopping chan struct{}
	done     chan struct{}
	died     chan error // the first death, for whoever waits for the start

	mu      sync.Mutex
	process host.Process
}

func newRunner(component Component, log string, started func(ComponentProcess)) *runner {
	return &runner{
		component: component, log: log, started: started,
		stopping: make(chan struct{}), done: make(chan struct{}), died: make(chan error, 1),
	}
}

// run returns once the component has been stopped.
func (r *runner) run() {
	defer close(r.done)
	pause := firstPause
	for restarts := 0; ; restarts++ {
		begin := time.Now()
		err := r.once(restarts)
		select {
		case <-r.stopping:
			return
		default:
		}
		select {
		case r.died <- fmt.Errorf("%s ended: %w", r.component.Name, err):
		default:
		}
		if time.Since(begin) > steady {
			pause = firstPause
		}
		slog.Warn("component ended, starting it again", "component", r.component.Name, "error", err, "pause", pause)
		select {
		case <-r.stopping:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
}

// once runs the component once; the error says how it ended and is never nil.
func (r *runner) once(restarts int) error {
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(r.component.Args[0], r.component.Args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := host.InNamespace(r.component.Namespace, cmd.Start); err != nil {
		return err
	}
	process, err := host.Identify(cmd.Process.Pid)
	if err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	r.mu.Lock()
	r.process = process
	r.mu.Unlock()
	r.started(ComponentProcess{Process: process, Since: time.Now(), Restarts: restarts})
	if err := cmd.Wait(); err != nil {
		return err
	}
	return fmt.Errorf("exit status 0")
}

// restart ends the component's process; run starts the next one.
func (r *runner) restart(patience time.Duration) error {
	r.mu.Lock()
	process := r.process
	r.mu.Unlock()
	return process.Stop(patience)
}

// stop ends the component and returns when it is gone.
func (r *runner) stop(patience time.Duration) {
	close(r.stopping)
	for {
		r.mu.Lock()
		process := r.process
		r.mu.Unlock()
		if err := process.Stop(patience); err != nil {
			slog.Error("stop component", "component", r.component.Name, "error", err)
			return
		}
		select {
		case <-r.done:
			return
		case <-time.After(20 * time.Millisecond): // it may just have been starting again
		}
	}
}
