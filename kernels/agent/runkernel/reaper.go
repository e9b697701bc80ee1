package runkernel

import (
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reaper waits for the orphans that the kernel leaves to pid 1. It never waits
// for a child that was started through it: that is exec.Cmd's. The zero value
// starts processes and reaps nothing.
type reaper struct {
	mu  sync.Mutex // held while a child is started, so that it is known before it can be reaped
	own map[int]bool

	signals chan os.Signal
	ended   chan struct{}
}

// run reaps until stop.
func (r *reaper) run() {
	r.signals = make(chan os.Signal, 1)
	r.ended = make(chan struct{})
	signal.Notify(r.signals, syscall.SIGCHLD)
	go func() {
		defer close(r.ended)
		r.reap()
		for range r.signals {
			r.reap()
		}
	}()
}

func (r *reaper) stop() {
	if r.signals != nil {
		signal.Stop(r.signals)
		close(r.signals)
		<-r.ended
	}
}

func (r *reaper) start(cmd *exec.Cmd) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	if r.own == nil {
		r.own = map[int]bool{}
	}
	r.own[cmd.Process.Pid] = true
	return nil
}

// waited is called when exec.Cmd has waited for a child: orphans that queued
// behind it can be reaped now.
func (r *reaper) waited(pid int) {
	r.mu.Lock()
	delete(r.own, pid)
	r.mu.Unlock()
	if r.signals != nil {
		r.reap()
	}
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		pid := zombie()
		if pid <= 0 || r.own[pid] {
			return
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, unix.WNOHANG, nil); err != nil {
			return
		}
	}
}

// zombie is a child that has ended and was not waited for, or 0.
func zombie() int {
	var info unix.Siginfo
	if unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) != nil {
		return 0
	}
	// On 64-bit Linux si_pid follows three ints and their padding; x/sys does not name it.
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), 16)))
}
