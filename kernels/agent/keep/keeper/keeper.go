package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// Kernel is one process of a kernel.
type Kernel interface {
	// Implementation is what the process says that it is. It is one that Keeps knows.
	Implementation() string
	// Evaluate has the value of an expression made by a silent request, and
	// returns its repr. It ends with ctx; ErrGone says that the process has.
	Evaluate(ctx context.Context, expression string) (string, error)
	// Execute runs code by a silent request, and waits until it has ended. It is an
	// error if the code fails.
	Execute(ctx context.Context, code string) error
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
	// Files is the directory of python/keep and the other adapters as the kernel sees it.
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

// Begin gets a process ready, before its user's first cell.
func (k *Keeper) Begin(ctx context.Context, kernel Kernel) error {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Limits.Begin)
	defer cancel()
	if err := Boot(ctx, kernel, k.cfg.Files); err != nil {
		return err
	}
	var begun struct{ Format int }
	if err := k.call(ctx, kernel, "begin", "", nil, &begun); err != nil {
		return fmt.Errorf("keeper: begin: %w", err)
	}
	return nil
}

// busy returns what of the user's goes on beside the cells.
func (k *Keeper) busy(ctx context.Context, kernel Kernel) ([]Work, error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Limits.Begin)
	defer cancel()
	var found struct{ Background []Work }
	err := k.call(ctx, kernel, "busy", "", nil, &found)
	return found.Background, err
}

// Forget removes the snapshot, if there is one.
func (k *Keeper) Forget() error { return k.cfg.Store.Delete() }
