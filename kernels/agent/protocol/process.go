package protocol

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Where the agent and run-kernel, which are containers of one Pod, meet. The
// directory is a volume in memory that no other container mounts.
const (
	RunDirectory = "/run/elastichub"
	// ControlDirectory belongs to the agent: whoever runs in the kernel's
	// container can put nothing there and take nothing away.
	ControlDirectory = RunDirectory + "/agent"
	ControlSocket    = ControlDirectory + "/control"
	// KernelDirectory belongs to run-kernel; the connection file is there.
	KernelDirectory = RunDirectory + "/kernel"
)

// Where the agent's postStart puts what the kernel's container needs of it.
const (
	AgentDirectory = "/opt/elastichub"
	// KeepDirectory has the files of python/keep and of kernels/agent/keep/adapters.
	KeepDirectory = AgentDirectory + "/" + KeepName
	KeepName      = "keep"
)

// Operation is what an agent asks of run-kernel.
type Operation string

// The operations. Each call gets one ProcessAnswer with its number.
const (
	OperationStart  Operation = "start"  // start the kernel's process; the answer names it
	OperationSignal Operation = "signal" // to the process group
	OperationClean  Operation = "clean"  // kill what a process that has ended left behind
	OperationUsage  Operation = "usage"  // of the container
	OperationEnd    Operation = "end"    // kill everything and exit; it is not answered

	// What follows is about files below the directory in which states of kernels
	// are kept; what each does, store.Volume says. They are carried out beside each
	// other and beside all else.
	OperationLock   Operation = "lock"   // the answer names the lock
	OperationUnlock Operation = "unlock" // gives it back
	OperationList   Operation = "list"   // the answer's bytes are a JSON list of FileEntry
	OperationRead   Operation = "read"   // the answer has the file's size, and its bytes from an offset
	OperationWrite  Operation = "write"  // the call's bytes are the file
	OperationSync   Operation = "sync"
	OperationRemove Operation = "remove"
	OperationSpace  Operation = "space"
)

// ProcessCall is a line from an agent to run-kernel.
type ProcessCall struct {
	Number    uint64    `json:"number"`
	Operation Operation `json:"operation"`
	// Connection is the content of the kernel's connection file, for OperationStart.
	Connection json.RawMessage `json:"connection,omitempty"`
	// Variables are set over those of the container, for OperationStart.
	Variables map[string]string `json:"variables,omitempty"`
	// Directory is where the kernel is to run, instead of where run-kernel was told
	// at its start, for OperationStart.
	Directory *Directory `json:"directory,omitempty"`
	// Process is the one that OperationSignal and OperationClean are about.
	Process int `json:"process,omitempty"`
	Signal  int `json:"signal,omitempty"`
	// Alone has OperationSignal signal the process, not its group.
	Alone bool `json:"alone,omitempty"`
	// GPU asks also for the use of GPUs, for OperationUsage.
	GPU  bool      `json:"gpu,omitempty"`
	File *FileCall `json:"file,omitempty"`
	// Bytes is how many bytes follow the line, at most PayloadBytes.
	Bytes int `json:"bytes,omitempty"`
}

// FileCall is what the operations on files need.
type FileCall struct {
	Name   string `json:"name,omitempty"`   // relative, with slashes
	Shared bool   `json:"shared,omitempty"` // of OperationLock
	Lock   uint64 `json:"lock,omitempty"`   // of OperationUnlock
	Offset int64  `json:"offset,omitempty"` // of OperationRead
	Most   int    `json:"most,omitempty"`   // bytes that the answer may have; also of OperationList
}

// PayloadBytes bounds what follows a line: it is more than the largest file of a state.
const PayloadBytes = 40 << 20

// ProcessAnswer is a line from run-kernel to its agent. One without a number
// is no answer: it tells of a process that has ended. The kernel runs as the
// same user as run-kernel, so that none of it is more than a claim.
type ProcessAnswer struct {
	Number  uint64  `json:"number,omitempty"`
	Error   string  `json:"error,omitempty"`
	Process int     `json:"process,omitempty"`
	Usage   *Usage  `json:"usage,omitempty"`
	Exited  *Exited `json:"exited,omitempty"`

	Fault FileFault   `json:"fault,omitempty"` // with Error, of an operation on files
	File  *FileAnswer `json:"file,omitempty"`
	// Bytes is how many bytes follow the line, no more than were asked for.
	Bytes int `json:"bytes,omitempty"`
}

// FileFault is what was wrong, where an agent has to know.
type FileFault string

// The faults.
const (
	FaultAbsent  FileFault = "absent"
	FaultBusy    FileFault = "busy"
	FaultFull    FileFault = "full"
	FaultForeign FileFault = "foreign"
)

// FileAnswer is what the operations on files tell.
type FileAnswer struct {
	Lock  uint64 `json:"lock,omitempty"`
	Size  int64  `json:"size,omitempty"`  // of the file that is read
	Free  int64  `json:"free,omitempty"`  // bytes
	Total int64  `json:"total,omitempty"` // bytes
}

// FileEntry is a file or directory in one that is listed.
type FileEntry struct {
	Name      string    `json:"name"`
	Size      int64     `json:"size,omitempty"`
	Directory bool      `json:"directory,omitempty"`
	Changed   time.Time `json:"changed"`
}

// Usage is what the kernel's container has used since it began, as its control
// group tells. What cannot be read is zero.
type Usage struct {
	CPUSeconds  float64 `json:"cpuSeconds"`
	MemoryKills uint64  `json:"memoryKills"` // processes killed for want of memory
	MemoryLimit uint64  `json:"memoryLimit"` // bytes; 0: none
	// GPUPercent is how busy the busiest of its GPUs was a moment ago, if that was
	// asked for and can be read.
	GPUPercent float64 `json:"gpuPercent,omitempty"`
}

// Exited is how a process has ended.
type Exited struct {
	Process  int    `json:"process"`
	ExitCode int    `json:"exitCode"`         // -1 if a signal ended it
	Signal   int    `json:"signal,omitempty"` // that ended it
	Output   string `json:"output,omitempty"` // its last lines
	Usage    Usage  `json:"usage"`
}

// LineBytes bounds a line of either side.
const LineBytes = 64 << 10

// ErrLine means that the other side has sent something that is no line of it.
var ErrLine = errors.New("protocol: invalid line")

// WriteLine writes a call or an answer, and what follows it.
func WriteLine(w io.Writer, line any, following ...[]byte) error {
	raw, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("protocol: %w", err)
	}
	if len(raw) >= LineBytes {
		return fmt.Errorf("%w: %d bytes", ErrLine, len(raw))
	}
	_, err = w.Write(append(raw, '\n'))
	for _, each := range following {
		if err == nil && len(each) > 0 {
			_, err = w.Write(each)
		}
	}
	return err
}

// LineReader is a reader for ReadLine.
func LineReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, LineBytes) }

// ReadLine reads a call or an answer. After an error nothing more can be read.
func ReadLine(r *bufio.Reader, line any) error {
	raw, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return fmt.Errorf("%w: longer than %d bytes", ErrLine, LineBytes)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, line); err != nil {
		return fmt.Errorf("%w: %w", ErrLine, err)
	}
	return nil
}
