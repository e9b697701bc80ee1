package frames

import "fmt"

// Error says that a stream is no whole snapshot of the known format, and where.
type Error struct {
	// Offset is where in the stream the frame begins that is at fault.
	Offset int64
	// Record names the record that was begun last, empty before the first.
	Record string
	Reason string
}

func (e *Error) Error() string {
	place := fmt.Sprintf("at byte %d", e.Offset)
	if e.Record != "" {
		place += ", record " + e.Record
	}
	return fmt.Sprintf("no whole snapshot: %s: %s", place, e.Reason)
}
