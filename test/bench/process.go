package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program that the bench started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start starts a program with its output in a file. env is added to ours.
// Whatever still runs when the bench ends is ended.
func (b *bench) start(name string, env []string, argv ...string) (*process, error) {
	b.started++
	p := &process{name: name, cmd: exec.Command(argv[0], argv[1:]...), log: filepath.Join(b.dir, fmt.Sprintf("%s-%d.log", name, b.started)), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Dir, p.cmd.Stderr = b.dir, log
	if p.cmd.Stdout == nil {
		p.cmd.Stdout = log
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	b.processes = append(b.processes, p)
	return p, nil
}

// stopPatience is how long a program may take to end.
const stopPatience = 10 * time.Second

// stop ends the program, by force if need be, and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopPatience):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// tail is the end of what the program said.
func (p *process) tail() string {
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(raw)), "\n")
	return p.name + ":\n  " + strings.Join(lines[max(0, len(lines)-15):], "\n  ")
}

// until calls probe until it succeeds, the program ends, or patience is over.
func (p *process) until(patience time.Duration, probe func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended: %w\n%s", p.name, err, p.tail())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w\n%s", p.name, err, p.tail())
		}
	}
}

// cpu is the processor time the program has used, without its children; none if there is no program.
func (p *process) cpu() time.Duration {
	if p == nil {
		return 0
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// Behind the command's name in parentheses; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	const ticks = 100 // per second, on every Linux that Go supports
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0
	}
	return time.Duration(user+system) * time.Second / ticks
}

// fill puts a connection file's path into a kernel's command.
func fill(argv []string, path string) []string {
	filled := make([]string, len(argv))
	for i, arg := range argv {
		filled[i] = strings.ReplaceAll(arg, "{connection_file}", path)
	}
	return filled
}

// Ports of kernels are below those that outgoing connections get, so that a
// dial to a port on which nobody listens yet cannot connect to itself.
const lowestPort, highestPort = 20000, 32767

func freePorts(n int) ([]int, error) {
	var ports []int
	for range 100 * n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowestPort+rand.IntN(highestPort-lowestPort)))
		if err != nil {
			continue
		}
		defer l.Close()
		address, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, errors.New("no TCP address")
		}
		if ports = append(ports, address.Port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports")
}
