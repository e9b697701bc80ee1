package keeper_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/agent/keep/keeper"
	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

func cell(n int) *int { return &n }

func TestWhatIsSaidOfASave(t *testing.T) {
	t.Parallel()
	gen := keeper.Thing{Name: "gen", Type: "generator", Why: "a generator cannot be kept", Cell: cell(38)}
	for want, report := range map[string]keeper.Report{
		"There were no variables to keep.":                                                                      {},
		"Its one variable is kept (1 KB).":                                                                      {Variables: 1, Bytes: 17},
		"All 14 variables are kept (1.3 GB).":                                                                   {Variables: 14, Bytes: 1.3e9},
		"All 2 variables are kept (3.0 MB). Left out, as you wished: `client`.":                                 {Variables: 2, Bytes: 3e6, Skipped: []keeper.Thing{{Name: "client", Type: "x.Client", Why: "y"}}},
		"13 of 14 variables are kept (2 KB). Not kept: `gen` (generator: a generator cannot be kept, In [38]).": {Variables: 13, Bytes: 2000, Lost: []keeper.Thing{gen}},
		"1 of 10 variables are kept (1 KB). Not kept: `gen` (generator: a generator cannot be kept, In [38]), `b` (int), `b` (int), `b` (int), `b` (int), and 4 more.": {
			Variables: 1, Bytes: 1, Lost: []keeper.Thing{gen, {Name: "b", Type: "int"}, {Name: "b", Type: "int"}, {Name: "b", Type: "int"}, {Name: "b", Type: "int"}, {Name: "b", Type: "int"}, {More: 3}}},
	} {
		assert.Equal(t, want, keeper.Kept(report))
	}
}

func TestWhatIsLost(t *testing.T) {
	t.Parallel()
	r := keeper.Report{
		Lost:  []keeper.Thing{{Name: "gen", Type: "generator", Why: "cannot be kept", Cell: cell(38)}, {More: 3}},
		Holes: []keeper.Thing{{Name: "box", Type: "socket"}}, StateLost: []keeper.Thing{{Name: "magic m", Type: "function"}},
	}
	assert.Equal(t, []string{"gen (generator: cannot be kept, In [38])", "box (socket)"}, keeper.LostIn(r, 2))
	assert.Len(t, keeper.LostIn(r, 20), 3)
	assert.Empty(t, keeper.LostIn(keeper.Report{}, 20))
}

func TestWhatIsSaidOfALoad(t *testing.T) {
	t.Parallel()
	lost := []keeper.Thing{{Name: "conn", Type: "sqlite3.Connection", Why: "a transaction is open", Cell: cell(12)}}
	assert.Equal(t, "Kernel is back with all 14 variables (2.1 s). Made again: `log` (file: opened at its position).",
		keeper.Returned(keeper.Report{Variables: 14, Seconds: 2.1, Again: []keeper.Thing{{Name: "log", Type: "file", What: "opened at its position"}}}, nil))
	assert.Equal(t, "Kernel is back with one variable. Not back: `conn` (sqlite3.Connection: a transaction is open, In [12]), `trap` (Trap: making it again ended the process, In [3]). Not as it was, so look before you use it: `a`.",
		keeper.Returned(keeper.Report{
			Variables: 1, Lost: lost, Changed: []keeper.Thing{{Name: "a"}},
			Failed: []keeper.Thing{{Name: "trap", Type: "Trap", Why: "?"}},
		}, []keeper.Record{{Number: 7, Kind: "variable", Name: "trap", Type: "Trap", Cell: cell(3)}}))
	assert.Equal(t, "Kernel is back with one variable. Breakpoints are not set: this kernel has no debugger.",
		keeper.Returned(keeper.Report{Variables: 1, Debugger: keeper.Debugger{Why: "this kernel has no debugger"}}, nil))
	assert.Equal(t, "Kernel is back without variables (0.1 s).", keeper.Returned(keeper.Report{Seconds: 0.1}, nil))
}

func TestWhyThereIsNothing(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"the home has no room for them":    store.ErrVolumeFull,
		"they are larger than may be kept": store.ErrTooLarge,
		"they could not be saved":          keeper.ErrGone,
	} {
		assert.Equal(t, "Variables are gone ("+want+"), files are kept.", keeper.NotKept(fmt.Errorf("x: %w", err)))
	}
	for want, err := range map[string]error{
		"what is in the home is not what was kept": &store.DamagedError{File: "manifest", Err: keeper.ErrGone},
		"they were kept for too long":              store.ErrExpired,
		"they were kept by another release":        store.ErrUnknownFormat,
		"the process ended while they were loaded": &keeper.DiedError{},
		"they could not be loaded":                 store.ErrBusy,
	} {
		assert.Equal(t, "Kernel is back without its variables: "+want+".", keeper.NotReturned(fmt.Errorf("x: %w", err)))
	}
}
