package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// Kernel is one process of a kernel.
type Kernel interface {
	// Evaluate has the value of an expression made by a silent request, and
	// returns its repr. It ends with ctx; ErrGone says that the process has.
	Evaluate(ctx context.Context, expression string) (string, error)
	// Interrupt sends SIGINT. What the kernel does then is its own.
	Interrupt() error
}

// ErrGone says that the kernel's process has ended.
var ErrGone = errors.New("the kernel's process has ended")

// Config of a Keeper.
type Config struct {
	Store *store.Store
	// Run counts the kernel's runs (ADR 3). What is saved is this run's.
	Run int64
	// Loads is the run whose state is loaded, 0 for the one before: between the two
	// may be some that never were ready.
	Loads int64
	// Files is the directory of python/keep as the kernel sees it.
	Files string
	// Pipes is a directory for FIFOs, which the kernel sees at the same path and
	// in which it can make nothing.
	Pipes string
	// MaxBytes of the stream; 0: any number.
	MaxBytes int64
	// Limits of steps; see DefaultLimits.
	Limits Limits
}

// Limits are how long steps may take.
type Limits struct {
	Begin time.Duration // begin and busy
	Save  time.Duration
	// Record is how long one variable may take at a save.
	Record time.Duration
	Load   time.Duration
	// Grace is how long the kernel may take to answer after it was interrupted.
	Grace time.Duration
}

// DefaultLimits are enough for a few gibibytes.
func DefaultLimits() Limits {
	return Limits{Begin: 10 * time.Second, Save: 90 * time.Second, Record: 30 * time.Second, Load: 180 * time.Second, Grace: 10 * time.Second}
}

// Keeper keeps the state of one kernel. One step is taken at a time.
type Keeper struct {
	cfg   Config
	steps int // names the next FIFO
}

// New makes a Keeper; nothing is done yet.
func New(cfg Config) *Keeper { return &Keeper{cfg: cfg} }

const module = "__import__('_elastichub_keep')"

// Begin gets a process ready, before its user's first cell.
func (k *Keeper) Begin(ctx context.Context, kernel Kernel) error {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Limits.Begin)
	defer cancel()
	if err := Boot(ctx, kernel, k.cfg.Files); err != nil {
		return err
	}
	var begun struct{ Format int }
	if err := evaluate(ctx, kernel, module+".begin()", &begun); err != nil {
		return fmt.Errorf("keeper: begin: %w", err)
	}
	return nil
}

// Boot has a process load what it needs to be kept, from a directory with python/keep.
// Nothing is noted by that, and doing it again changes nothing.
func Boot(ctx context.Context, kernel Kernel, files string) error {
	boot := literal(path.Join(files, "boot.py"))
	if _, err := kernel.Evaluate(ctx, fmt.Sprintf(`exec(open(%s).read(), {"__file__": %s})`, boot, boot)); err != nil {
		return fmt.Errorf("keeper: boot: %w", err)
	}
	return nil
}

// busy returns what of the user's goes on beside the cells.
func (k *Keeper) busy(ctx context.Context, kernel Kernel) ([]Work, error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Limits.Begin)
	defer cancel()
	var found struct{ Background []Work }
	err := evaluate(ctx, kernel, module+".busy()", &found)
	return found.Background, err
}

// Forget removes the snapshot, if there is one.
func (k *Keeper) Forget() error { return k.cfg.Store.Delete() }

// evaluate decodes the document that an expression's repr is.
func evaluate(ctx context.Context, kernel Kernel, expression string, document any) error {
	text, err := kernel.Evaluate(ctx, expression)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), document); err != nil {
		return fmt.Errorf("an answer that is no document: %w", err)
	}
	return nil
}

// literal is a value of JSON without null, which Python reads as its own.
func literal(value any) string {
	text, _ := json.Marshal(value) // strings, numbers and lists of them always encode
	return string(text)
}
