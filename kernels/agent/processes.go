package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// drainTime is how long the last words of a process are awaited after it has
// ended: children that outlive it may hold its connections open.
const drainTime = 250 * time.Millisecond

// answerTime is how long run-kernel may take to answer. One that does not, is
// not there: the kernel may have stopped it.
const answerTime = 2 * time.Second

// killTime is how long a process may take to end after SIGKILL.
const killTime = 2 * time.Second

var (
	errNoAnswer = errors.New("agent: run-kernel does not answer")
	errGone     = errors.New("agent: the kernel's container has ended")
)

// processes is the agent's side of run-kernel, over the one connection there is.
type processes struct {
	conn net.Conn
	gone chan struct{} // closed when the connection has ended

	writing sync.Mutex
	mu      sync.Mutex
	number  uint64
	calls   map[uint64]pendingCall
	running map[int]*process
}

type pendingCall struct {
	operation protocol.Operation
	most      int // bytes that may follow the answer
	answer    chan processAnswer
}

type processAnswer struct {
	protocol.ProcessAnswer
	process *process // that was started
	data    []byte   // that followed it
}

// process is one process of the kernel.
type process struct {
	id      int
	all     *processes
	started time.Time
	done    chan struct{} // closed when it has ended, or nobody can tell any more
	exit    protocol.Exited
	lost    bool // nobody can tell how it ended
}

// listenForProcesses makes the socket. Its directory belongs to the agent, so
// that nobody else can put a socket of theirs there.
func listenForProcesses(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Only the kernel's container mounts the volume, under any user.
	return listener, os.Chmod(path, 0o666)
}

// acceptProcesses waits for run-kernel, which speaks before any code of the
// kernel's owner can: the first to come is the only one.
func acceptProcesses(ctx context.Context, listener net.Listener) (*processes, error) {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	conn, err := listener.Accept()
	_ = listener.Close()
	if err != nil {
		return nil, err
	}
	return newProcesses(conn), nil
}

func newProcesses(conn net.Conn) *processes {
	p := &processes{conn: conn, gone: make(chan struct{}), calls: map[uint64]pendingCall{}, running: map[int]*process{}}
	go p.read(protocol.LineReader(conn))
	return p
}

// close ends the connection and with it, if it is what it should be, run-kernel.
func (p *processes) close() {
	_ = p.conn.Close()
	<-p.gone
}

func (p *processes) read(lines *bufio.Reader) {
	for {
		var answer protocol.ProcessAnswer
		if protocol.ReadLine(lines, &answer) != nil {
			break
		}
		data, err := p.following(lines, answer)
		if err != nil {
			break
		}
		p.take(answer, data)
	}
	_ = p.conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, process := range p.running {
		process.lost = true
		close(process.done)
	}
	p.running = nil
	close(p.gone)
}

// following reads what follows an answer, which is no more than was asked for. That
// of an answer that came too late is skipped.
func (p *processes) following(lines *bufio.Reader, answer protocol.ProcessAnswer) ([]byte, error) {
	if answer.Bytes == 0 {
		return nil, nil
	}
	p.mu.Lock()
	call, ok := p.calls[answer.Number]
	p.mu.Unlock()
	if answer.Bytes < 0 || answer.Bytes > protocol.PayloadBytes || ok && answer.Bytes > call.most {
		return nil, fmt.Errorf("%w: %d bytes are to follow", protocol.ErrLine, answer.Bytes)
	}
	if !ok {
		_, err := lines.Discard(answer.Bytes)
		return nil, err
	}
	data := make([]byte, answer.Bytes)
	_, err := io.ReadFull(lines, data)
	return data, err
}

func (p *processes) take(answer protocol.ProcessAnswer, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if answer.Exited != nil {
		if process := p.running[answer.Exited.Process]; process != nil {
			process.exit = *answer.Exited
			delete(p.running, process.id)
			close(process.done)
		}
		return
	}
	call, ok := p.calls[answer.Number]
	if !ok {
		return
	}
	delete(p.calls, answer.Number)
	taken := processAnswer{ProcessAnswer: answer, data: data}
	if call.operation == protocol.OperationStart && answer.Error == "" {
		if former := p.running[answer.Process]; former != nil { // the same id twice: a lie, or a repetition after 2^22 processes
			former.lost = true
			close(former.done)
		}
		taken.process = &process{id: answer.Process, all: p, started: time.Now(), done: make(chan struct{})}
		p.running[answer.Process] = taken.process
	}
	call.answer <- taken
}

// call returns errNoAnswer, errGone, or what run-kernel says went wrong.
func (p *processes) call(c protocol.ProcessCall) (processAnswer, error) {
	return p.callWith(c, nil, answerTime)
}

// callWith sends what follows the call, too.
func (p *processes) callWith(c protocol.ProcessCall, data []byte, patience time.Duration) (processAnswer, error) {
	wait := make(chan processAnswer, 1)
	pending := pendingCall{operation: c.Operation, answer: wait}
	if c.File != nil {
		pending.most = c.File.Most
	}
	p.mu.Lock()
	p.number++
	c.Number, c.Bytes = p.number, len(data)
	p.calls[c.Number] = pending
	p.mu.Unlock()
	forget := func() {
		p.mu.Lock()
		delete(p.calls, c.Number)
		p.mu.Unlock()
	}
	if err := p.tell(c, data); err != nil {
		forget()
		return processAnswer{}, err
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case answer := <-wait:
		if answer.Error != "" {
			return answer, errors.New(answer.Error)
		}
		return answer, nil
	case <-p.gone:
		return processAnswer{}, errGone
	case <-timeout.C:
		forget()
		return processAnswer{}, errNoAnswer
	}
}

func (p *processes) tell(c protocol.ProcessCall, data []byte) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	_ = p.conn.SetWriteDeadline(time.Now().Add(answerTime))
	if err := protocol.WriteLine(p.conn, c, data); err != nil {
		_ = p.conn.Close() // what was written of it may be half a call
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// start starts the kernel's process.
func (p *processes) start(connection *connection, told *protocol.Variables) (*process, error) {
	raw, err := json.Marshal(connection)
	if err != nil {
		return nil, err
	}
	over := ptr.Deref(told, protocol.Variables{})
	answer, err := p.call(protocol.ProcessCall{
		Operation: protocol.OperationStart, Connection: raw, Variables: over.Variables, Directory: over.Directory,
	})
	return answer.process, err
}

// usage is that of the kernel's container, of its GPUs, too, if gpu says so.
func (p *processes) usage(gpu bool) (protocol.Usage, error) {
	answer, err := p.call(protocol.ProcessCall{Operation: protocol.OperationUsage, GPU: gpu})
	if err != nil || answer.Usage == nil {
		return protocol.Usage{}, errors.Join(err, errors.New("agent: no usage"))
	}
	return *answer.Usage, nil
}

// end has run-kernel kill everything and exit, and waits a moment for that.
func (p *processes) end() {
	_ = p.tell(protocol.ProcessCall{Operation: protocol.OperationEnd}, nil)
	select {
	case <-p.gone:
	case <-time.After(killTime):
	}
	p.close()
}

// signal sends to the whole process group. A group that is gone is no error.
func (p *process) signal(s syscall.Signal) error {
	_, err := p.all.call(protocol.ProcessCall{Operation: protocol.OperationSignal, Process: p.id, Signal: int(s)})
	return err
}

// interruptAlone sends SIGINT to the process and to nothing that it has started.
func (p *process) interruptAlone() error {
	_, err := p.all.call(protocol.ProcessCall{Operation: protocol.OperationSignal, Process: p.id, Signal: int(syscall.SIGINT), Alone: true})
	return err
}

// exited reports whether the process has ended within d.
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

// clean has what the kernel left behind killed. Call it when the process is done.
func (p *process) clean() {
	_, _ = p.all.call(protocol.ProcessCall{Operation: protocol.OperationClean, Process: p.id})
}

// output are the last lines that the process wrote. Call it after done.
func (p *process) output() string { return strings.ToValidUTF8(p.exit.Output, "\uFFFD") }

// exitCode is the process's own, or 128 + the signal that ended it. Call it after done.
func (p *process) exitCode() int {
	switch {
	case p.lost:
		return 128 + int(syscall.SIGKILL)
	case p.exit.Signal > 0:
		return 128 + p.exit.Signal
	}
	return p.exit.ExitCode
}

// ending says in words how the process ended. Call it after done.
func (p *process) ending() string {
	if p.exit.Signal <= 0 {
		return fmt.Sprintf("exit code %d", p.exit.ExitCode)
	}
	return fmt.Sprintf("signal %d (%s)", p.exit.Signal, syscall.Signal(p.exit.Signal))
}
