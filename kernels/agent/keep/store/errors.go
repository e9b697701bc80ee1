package store

import (
	"errors"
	"fmt"
)

// What may be wrong with a snapshot, a volume, or the moment.
var (
	ErrNoSnapshot    = errors.New("there is no snapshot")
	ErrExpired       = errors.New("the snapshot is too old")
	ErrOtherRun      = errors.New("the snapshot is not of the run that is asked for")
	ErrOtherKernel   = errors.New("the snapshot is another kernel's")
	ErrOtherKey      = errors.New("the snapshot was sealed with a key that is not known")
	ErrUnknownFormat = errors.New("the snapshot has a format that is not known")

	ErrTooLarge   = errors.New("the snapshot is larger than it may be")
	ErrVolumeFull = errors.New("the volume is full")
	ErrForeign    = errors.New("this is not what was put here")
	ErrBusy       = errors.New("the kernel's state is being saved or loaded by another")
)

// DamagedError says which file of a snapshot is not what was written.
type DamagedError struct {
	File string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the snapshot is damaged: %s: %s", e.File, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }
