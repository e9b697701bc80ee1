package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// Record is one of a snapshot's.
type Record struct {
	Number int    `json:"i"`
	Kind   string `json:"k"`
	Name   string `json:"n"`
	Type   string `json:"t"`
	Cell   *int   `json:"c"`
}

// DiedError says in which record of a snapshot a process died that was loading it.
type DiedError struct{ Record Record }

func (e *DiedError) Error() string {
	return fmt.Sprintf("the kernel's process ended while %s %q (%s) was made again", e.Record.Kind, e.Record.Name, e.Record.Type)
}

// Unwrap makes it an ErrGone.
func (e *DiedError) Unwrap() error { return ErrGone }

// Waits reports whether there is a snapshot to be loaded.
func (k *Keeper) Waits() (store.Snapshot, error) { return k.cfg.Store.Find(k.wanted()) }

func (k *Keeper) wanted() store.Wanted {
	if k.cfg.Loads > 0 {
		return store.Wanted{Run: k.cfg.Loads}
	}
	return store.Wanted{Run: k.cfg.Run - 1}
}

// Load has the snapshot loaded into a process that has
// begun, without some records. Whatever fails, the user's variables are as they
// were: there are none. If the process ends, it is a *DiedError if it is known
// where.
func (k *Keeper) Load(ctx context.Context, kernel Kernel, without []Record) (Report, error) {
	data, err := k.pipe("load")
	if err != nil {
		return Report{}, err
	}
	defer data.close()
	progress, err := k.pipe("progress")
	if err != nil {
		return Report{}, err
	}
	defer progress.close()
	last := follow(progress.read)
	loading, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	given := make(chan error, 1)
	broken := make(chan struct{})
	go func() {
		_, err := k.cfg.Store.Load(loading, k.wanted(), data.write)
		if err != nil {
			_ = data.write.Close()
			close(broken)
		}
		given <- err
	}()
	numbers := make([]int, len(without))
	for i, record := range without {
		numbers[i] = record.Number
	}
	options := map[string]any{"without": numbers, "progress": progress.path}
	report, err := k.ask(ctx, kernel, step{"load", data.path, options}, k.cfg.Limits.Load, broken)
	if err != nil || report.Outcome != outcomeLoaded {
		giveUp()
	}
	data.close() // the store has written all of it, if the kernel has read all of it
	_ = progress.write.Close()
	_ = progress.read.SetReadDeadline(time.Now().Add(lastWords))
	record := <-last
	storeErr := <-given
	switch {
	case errors.Is(err, ErrGone) && record != nil:
		return Report{}, &DiedError{*record}
	case storeErr != nil && !closed(storeErr) && !errors.Is(storeErr, context.Canceled):
		return Report{}, storeErr
	case err != nil:
		return Report{}, err
	case report.Outcome != outcomeLoaded || storeErr != nil:
		return Report{}, fmt.Errorf("the kernel says: %s %s", report.Outcome, report.Error)
	}
	return report, nil
}

// lastWords is how long the progress of a process that has answered or ended is
// read: it is in the pipe already.
const lastWords = 2 * time.Second

// follow reads records as they are begun, to the end, and gives the last.
func follow(progress *os.File) <-chan *Record {
	last := make(chan *Record, 1)
	go func() {
		var found *Record
		lines := bufio.NewScanner(progress)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var record Record
			if json.Unmarshal(lines.Bytes(), &record) == nil {
				found = &record
			}
		}
		last <- found
	}()
	return last
}
