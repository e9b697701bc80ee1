// Package keeper has the state of one kernel saved before it is parked, and loaded
// when it comes back. It speaks to the kernel by the silent requests of
// docs/parking-format.md, and gives what comes through a FIFO to package store.
//
//	Plan, pure: when to do what
//
//	  idle ≥ short ──▶ saving ── whole ──────────────▶ committing ──▶ park
//	     ▲               │ ├─ a request came ─▶ interrupt ─▶ (from the start)
//	     │               │ ├─ part of it ─▶ waits for long ─▶ committing ─▶ park
//	     └─ later again ─┤ └─ failed ─────▶ waits for long ─────────────▶ park, without
//	                     └─ threads, tasks, children at work
//
//	Keeper: how; each of its methods is one step, and may be ended at any time
//
// What comes from the kernel is the word of its owner. None of it holds a step up
// for longer than its time.
package keeper
