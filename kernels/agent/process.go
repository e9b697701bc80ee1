package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// drainTime is how long output is awaited after a kernel has gone: children
// that outlive it may hold the pipe open.
const drainTime = 250 * time.Millisecond

// process is one process of the kernel, leader of its own session and group.
type process struct {
	cmd     *exec.Cmd
	tail    *tail
	started time.Time
	done    chan struct{} // closed when the process has been waited for
	state   *os.ProcessState
	output  *os.File // read end
	pumped  chan struct{}
}

// startProcess runs argv in env; its output goes to out. reap is told of the
// process before anybody else can wait for it.
func startProcess(argv, env []string, out io.Writer, reap *reaper) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = reap.start(cmd)
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	p := &process{
		cmd: cmd, tail: &tail{}, started: time.Now(),
		done: make(chan struct{}), output: r, pumped: make(chan struct{}),
	}
	go func() {
		defer close(p.pumped)
		pump(r, out, p.tail)
	}()
	go func() {
		_ = cmd.Wait() // the state says all
		p.state = cmd.ProcessState
		reap.waited(cmd.Process.Pid)
		select {
		case <-p.pumped:
		case <-time.After(drainTime):
		}
		close(p.done)
	}()
	return p, nil
}

// kernelEnv is the environment without what concerns the agent alone, and
// without JPY_PARENT_PID, which would make ipykernel watch for a parent. With
// the variable of pydevd, which the environment may set otherwise, ipykernel does
// not publish at every start that its debugger may miss breakpoints in the
// standard library.
func kernelEnv(environ []string) []string {
	env := []string{"PYDEVD_DISABLE_FILE_VALIDATION=1"}
	for _, e := range environ {
		if !strings.HasPrefix(e, protocol.EnvPrivatePrefix) && !strings.HasPrefix(e, "JPY_PARENT_PID=") {
			env = append(env, e)
		}
	}
	return env
}

// signal sends to the whole process group. A group that is gone is no error.
func (p *process) signal(s syscall.Signal) error {
	err := syscall.Kill(-p.cmd.Process.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// exited tells whether the process has ended within d.
func (p *process) exited(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// close kills what the kernel left behind and stops reading its output: its
// group, and in a container, where the agent is the first process, all that is
// there, so that no child keeps the GPU from the next process. Call it after done.
func (p *process) close() {
	_ = p.signal(syscall.SIGKILL)
	if os.Getpid() == 1 {
		_ = syscall.Kill(-1, syscall.SIGKILL) // spares pid 1, see kill(2)
	}
	_ = p.output.Close()
	<-p.pumped
}

// exitCode is the process's own, or 128 + the signal that ended it. Call it after done.
func (p *process) exitCode() int {
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.state.ExitCode()
}

// ending says in words how the process ended. Call it after done.
func (p *process) ending() string {
	status, ok := p.state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return fmt.Sprintf("exit code %d", p.state.ExitCode())
	}
	return fmt.Sprintf("signal %d (%s)", status.Signal(), status.Signal())
}
