package runkernel

import (
	"errors"
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
	cmd    *exec.Cmd
	tail   *tail
	done   chan struct{} // closed when the process has been waited for
	state  *os.ProcessState
	output *os.File // read end
	pumped chan struct{}
}

// startProcess runs argv in env and dir; its output goes to out. reap is told
// of the process before anybody else can wait for it.
func startProcess(argv, env []string, dir string, out io.Writer, reap *reaper) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = env, dir
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = reap.start(cmd)
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	p := &process{cmd: cmd, tail: &tail{}, done: make(chan struct{}), output: r, pumped: make(chan struct{})}
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

// with is an environment in which variables count over those of the same name.
func with(environ []string, variables map[string]string) []string {
	for name, value := range variables {
		environ = append(environ, name+"="+value)
	}
	return environ
}

// kernelEnv is the environment without what concerns the agent alone, and
// without JPY_PARENT_PID, which would make ipykernel watch for a parent. With
// the variable of pydevd, which the environment may set otherwise, ipykernel does
// not publish at every start that its debugger may miss breakpoints in the
// standard library. Libraries are told how many cores there are, unless the
// environment says how many threads they are to run.
func kernelEnv(environ []string, cores int) []string {
	env := append(threadEnv(cores), "PYDEVD_DISABLE_FILE_VALIDATION=1")
	for _, e := range environ {
		if !strings.HasPrefix(e, protocol.EnvPrivatePrefix) && !strings.HasPrefix(e, "JPY_PARENT_PID=") {
			env = append(env, e)
		}
	}
	return env
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// signal sends to the whole process group. A group that is gone is no error.
func (p *process) signal(s syscall.Signal) error {
	err := syscall.Kill(-p.pid(), s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// signalAlone spares what the process has started. One that is gone is no error.
func (p *process) signalAlone(s syscall.Signal) error {
	err := syscall.Kill(p.pid(), s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// clean kills what the kernel left behind and stops reading its output: its
// group, and in a container, where run-kernel is the first process, all that is
// there, so that no child keeps the GPU from the next process. Call it after done.
func (p *process) clean() {
	_ = p.signal(syscall.SIGKILL)
	if os.Getpid() == 1 {
		_ = syscall.Kill(-1, syscall.SIGKILL) // spares pid 1, see kill(2)
	}
	_ = p.output.Close()
	<-p.pumped
}

// exited says how the process ended. Call it after done.
func (p *process) exited() protocol.Exited {
	e := protocol.Exited{Process: p.pid(), ExitCode: p.state.ExitCode(), Output: p.tail.String()}
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = int(status.Signal())
	}
	return e
}
