package agent_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/keep/store"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

const kernelUID = "0b8f7d0e-5d0f-4a68-9a86-1c1f6f0a7a11"

// startKept starts a run of a kernel whose state is kept in a home. Its limits are
// a second and an hour.
func startKept(t *testing.T, home string, run int64, change func(*agent.Config)) *running {
	t.Helper()
	return startInHome(t, home, ipykernel(t), kept(t, run, change))
}

func kept(t *testing.T, run int64, change func(*agent.Config)) func(*agent.Config) {
	t.Helper()
	files, err := filepath.Abs("../../python/keep")
	require.NoError(t, err)
	return func(c *agent.Config) {
		c.Secret = secret(t, run)
		c.IdleTimeout = time.Hour
		c.Keep = &agent.Keep{Kernel: kernelUID, Keys: []store.Key{{1, 2}}, Run: run, Files: files, Short: time.Second, TTL: time.Hour, FreePercent: 1}
		if change != nil {
			change(c)
		}
	}
}

func snapshot(home string) string {
	return filepath.Join(home, ".elastichub", "kernels", kernelUID, "manifest")
}

// notices are the texts shown under a cell.
func (o *outcome) notices() []string {
	var all []string
	for _, m := range o.all {
		var d display
		if m.Type() == wire.TypeDisplayData && json.Unmarshal(m.Content, &d) == nil {
			all = append(all, d.Data["text/plain"])
		}
	}
	return all
}

// parkedWith waits for the end of a run that was parked, and returns its notice.
func (r *running) parkedWith() string {
	r.t.Helper()
	result := r.ended()
	require.Equal(r.t, protocol.ReasonIdle, result.Reason)
	return result.Message
}

// TestVariablesComeBack, with what hangs on them, over three runs. Clients see
// nothing of how, and it is nobody's activity.
func TestVariablesComeBack(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	g := r.connect("s1")
	g.run("import random\nrandom.seed(7)\na = [1, 2]\nb = {'a': a}\ndef f(): return len(a)")
	last := r.state().LastActivity
	closed, seen := g.closed()
	assert.Equal(t, protocol.CloseEnded, closed.Code)
	for _, m := range seen {
		assert.NotEqual(t, wire.TypeStatus, m.Type(), "%s", m.ParentHeader)
	}
	message := r.parkedWith()
	assert.Regexp(t, `^Kernel parked after 1 s without work\. All \d variables are kept \(\d+ KB\)\. Run a cell to go on\.$`, message)
	assert.FileExists(t, snapshot(home))
	assert.NotZero(t, last)
	require.NotNil(t, r.result.Kept)
	assert.Equal(t, protocol.KeptWhole, r.result.Kept.Outcome)
	assert.EqualValues(t, 1, r.result.Kept.Run)
	assert.Positive(t, r.result.Kept.Bytes)
	assert.Empty(t, r.result.Kept.Lost)

	r = startKept(t, home, 2, nil)
	g = r.connect("s1")
	back := g.result(g.execute("a.append(3)\nprint(f(), b['a'] is a, In[-1][:8], random.random())"))
	assert.Equal(t, "3 True a.append 0.32383276483316237\n", back.stdout)
	require.Len(t, back.notices(), 1)
	assert.Regexp(t, `^Kernel is back with all \d variables( \(\d\.\d s\))?\.$`, back.notices()[0])
	assert.Contains(t, string(back.reply.Content), `"execution_count": 2`)
	again := g.result(g.execute("print(a)"))
	assert.Empty(t, again.notices())
	r.parkedWith()

	r = startKept(t, home, 3, nil)
	assert.Equal(t, "3 True\n", r.connect("s2").run("print(f(), b['a'] is a)"))
}

// TestNoActivityOfTheAgents: while it saves, the idle clock goes on.
func TestNoActivityOfTheAgents(t *testing.T) {
	t.Parallel()
	r := startKept(t, t.TempDir(), 1, nil)
	g := r.connect("s1")
	g.run("gen = (i for i in range(3))")
	last := r.state().LastActivity
	r.awaitLog("outcome=part")
	assert.Equal(t, last, r.state().LastActivity)
	assert.False(t, r.state().Busy)
	assert.Greater(t, r.state().IdleSeconds, 0.9)
}

// TestACellInterruptsASave: it runs, and nothing is kept of what was.
func TestACellInterruptsASave(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	g := r.connect("s1")
	mark := filepath.Join(t.TempDir(), "saving")
	g.run(strings.ReplaceAll(`
import time
class Slow:
    def __reduce__(self):
        open("MARK", "w").close()
        time.sleep(60)
        return Slow, ()
slow = Slow()`, "MARK", mark))
	require.Eventually(t, func() bool { _, err := os.Stat(mark); return err == nil }, patience, 5*time.Millisecond)
	cell := g.result(g.execute("del slow\nprint('ran')"))
	assert.Equal(t, "ok", cell.status())
	assert.Equal(t, "ran\n", cell.stdout)
	assert.Empty(t, cell.stderr)
	assert.NoFileExists(t, snapshot(home))
	assert.Contains(t, r.parkedWith(), "are kept") // it is saved anew
	assert.FileExists(t, snapshot(home))
}

// TestAKernelThatDiesWhileItIsSaved leaves no snapshot, neither of this run nor of the one before,
// and the next process has the first cell's attention as after any crash.
func TestAKernelThatDiesWhileItIsSaved(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	r.connect("s1").run("a = 5")
	require.Contains(t, r.parkedWith(), "is kept")
	r = startKept(t, home, 2, nil)
	g := r.connect("s1")
	require.Equal(t, "5\n", g.run("print(a)"))
	g.run(`
import os
class Trap:
    def __reduce__(self): os.kill(os.getpid(), 9)
trap = Trap()`)
	g.until(func(m *wire.Message) bool { return m.ExecutionState() == string(wire.StateRestarting) })
	assert.Equal(t, "False\n", g.run("print('a' in globals())"))
	assert.Contains(t, r.parkedWith(), "There were no variables to keep")

	r = startKept(t, home, 3, nil)
	assert.Equal(t, "False\n", r.connect("s1").run("print('a' in globals())"))
}

// TestWhatCannotBeSaved is parked at the long limit alone, and it is said why.
func TestWhatCannotBeSaved(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, func(c *agent.Config) { c.Keep.MaxBytes, c.IdleTimeout = 1<<20, 6*time.Second })
	begun := time.Now()
	r.connect("s1").run("import os\na = os.urandom(1 << 23)")
	assert.Equal(t, "Kernel parked after 6 s without work. Variables are gone (they are larger than may be kept), files are kept. Run a cell to go on.", r.parkedWith())
	assert.GreaterOrEqual(t, time.Since(begun), 6*time.Second)
	assert.NoFileExists(t, snapshot(home))
	assert.Equal(t, &protocol.Kept{Outcome: protocol.KeptNone}, r.result.Kept)

	r = startKept(t, home, 2, nil)
	g := r.connect("s1")
	cell := g.result(g.execute("print('a' in globals())"))
	assert.Equal(t, "False\n", cell.stdout)
	assert.Equal(t, []string{"Variables from before are gone; files are kept."}, cell.notices())
}

// TestAPartWaitsForTheLongLimit, and what is not kept is named.
func TestAPartWaitsForTheLongLimit(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, func(c *agent.Config) { c.IdleTimeout = 6 * time.Second })
	begun := time.Now()
	r.connect("s1").run("a = 5\ngen = (i for i in range(3))")
	message := r.parkedWith()
	assert.GreaterOrEqual(t, time.Since(begun), 6*time.Second)
	assert.Regexp(t, "^Kernel parked after 6 s without work\\. 1 of 2 variables are kept \\(\\d+ KB\\)\\. Not kept: `gen` \\(generator: .*, In \\[1\\]\\)\\. Run a cell to go on\\.$", message)

	r = startKept(t, home, 2, nil)
	g := r.connect("s1")
	cell := g.result(g.execute("print(a)"))
	assert.Equal(t, "5\n", cell.stdout)
	require.Len(t, cell.notices(), 1)
	assert.Contains(t, cell.notices()[0], "Not back: `gen` (generator: ")
	lost := g.result(g.execute("next(gen)"))
	assert.Equal(t, "error", lost.status())
	assert.Contains(t, wire.Member(lost.reply.Content, "evalue"), "In [1]")
}

// TestYieldSavesFirst, and where a policy wants that all is kept, whoever waits gets nothing of a
// kernel of which it is not.
func TestYieldSavesFirst(t *testing.T) {
	t.Parallel()
	asks := func(r *running) int {
		status, _ := r.request("POST", "/v1/park", `{"ifIdleSeconds": 0.5}`)
		return status
	}
	for name, tc := range map[string]struct {
		code    string
		any     bool
		outcome protocol.KeptOutcome
	}{
		"all is kept":                  {"a = 5", false, protocol.KeptWhole},
		"all is kept, anything yields": {"a = 5", true, protocol.KeptWhole},
		"a part is, anything yields":   {"a = 5\ngen = (i for i in range(3))", true, protocol.KeptPart},
		"a part is, and all is wanted": {"a = 5\ngen = (i for i in range(3))", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			r := startKept(t, home, 1, func(c *agent.Config) { c.Keep.Short, c.Keep.YieldAny, c.GPUs = 0, tc.any, 1 })
			g := r.connect("s1")
			g.run(tc.code)
			require.Eventually(t, func() bool { return asks(r) == 202 }, patience, 50*time.Millisecond)
			if tc.outcome != "" {
				assert.Contains(t, r.parkedWith(), "since somebody was waiting for its GPU")
				require.NotNil(t, r.result.Kept)
				assert.Equal(t, tc.outcome, r.result.Kept.Outcome)
				assert.FileExists(t, snapshot(home))
				return
			}
			r.awaitLog("outcome=part")
			require.Eventually(t, func() bool { return r.state().Unyielding }, patience, 10*time.Millisecond)
			assert.Equal(t, 409, asks(r))
			assert.NoFileExists(t, snapshot(home))
			assert.Equal(t, "5\n", g.run("print(a); del gen"), "it goes on")
			assert.False(t, r.state().Unyielding, "it has been used since")
			require.Eventually(t, func() bool { return asks(r) == 202 }, patience, 50*time.Millisecond)
			assert.Contains(t, r.parkedWith(), "is kept")
			assert.Equal(t, protocol.KeptWhole, r.result.Kept.Outcome)
		})
	}
}

// TestAllIsWanted of a kernel that cannot be saved: it does not yield. Who gives it back does.
func TestAllIsWanted(t *testing.T) {
	t.Parallel()
	r := startInHome(t, t.TempDir(), stub(t), kept(t, 1, nil))
	r.connect("s1").run("1")
	require.Eventually(t, func() bool { return r.state().IdleSeconds > 0.5 }, patience, 50*time.Millisecond)
	status, _ := r.request("POST", "/v1/park", `{"ifIdleSeconds": 0.1}`)
	assert.Equal(t, 409, status)
	assert.True(t, r.state().Unyielding)
	status, _ = r.request("POST", "/v1/park", `{"ifIdleSeconds": 0.1, "byHand": true}`)
	assert.Equal(t, 202, status)
	assert.Contains(t, r.parkedWith(), "parked by hand")
}

// TestAProcessThatDiesOfItsState comes back without what it died of.
func TestAProcessThatDiesOfItsState(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	r.connect("s1").run("import os\na = 5\nclass Trap:\n    def __reduce__(self): return os._exit, (3,)\ntrap = Trap()\nz = 6")
	require.Contains(t, r.parkedWith(), "are kept")

	r = startKept(t, home, 2, nil)
	g := r.connect("s1")
	cell := g.result(g.execute("print(a, z)"))
	assert.Equal(t, "5 6\n", cell.stdout)
	require.Len(t, cell.notices(), 1)
	assert.Contains(t, cell.notices()[0], "Not back: `trap` (Trap: making it again ended the process, In [1])")
}

// TestAStateThatEndsEveryProcess is given up, and the cell that waits runs. Each trap
// is one of its own: what hangs on one that was left out is lost with it.
func TestAStateThatEndsEveryProcess(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	r.connect("s1").run(`
import os, signal
a = 5
class Trap:
    def __init__(self, *how): self.how = how
    def __reduce__(self): return self.how
one, two, three = Trap(os._exit, (3,)), Trap(os.abort, ()), Trap(signal.raise_signal, (9,))`)
	require.Contains(t, r.parkedWith(), "are kept")

	r = startKept(t, home, 2, nil)
	g := r.connect("s1")
	cell := g.result(g.execute("print('a' in globals())"))
	assert.Equal(t, "False\n", cell.stdout)
	assert.Contains(t, cell.notices(), "Kernel is back without its variables: the process ended while they were loaded.")
}

// TestAStateThatIsLoadedHalfWay leaves nothing of it: the cell that waits runs in
// another process, which is no restart of anybody's.
func TestAStateThatIsLoadedHalfWay(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	r.connect("s1").run(`
import os, signal
os.environ["MARK"] = "1"
class Trap:
    def __reduce__(self): return signal.raise_signal, (2,)
trap = Trap()`)
	require.Contains(t, r.parkedWith(), "are kept")

	r = startKept(t, home, 2, nil)
	g := r.connect("s1")
	cell := g.result(g.execute("import os; print('trap' in globals(), os.environ.get('MARK'))"))
	assert.Equal(t, "False None\n", cell.stdout)
	assert.Equal(t, []string{"Kernel is back without its variables: they could not be loaded."}, cell.notices())
	assert.Zero(t, r.state().Restarts)
	assert.Contains(t, g.run("a = 5; print(a)"), "5")
	assert.Regexp(t, `\. Its one variable is kept|All \d variables are kept`, r.parkedWith())
}

// TestADamagedStateIsNotLoaded: the kernel begins without, and says so.
func TestADamagedStateIsNotLoaded(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	r.connect("s1").run("a = 5")
	r.parkedWith()
	chunks, err := filepath.Glob(filepath.Join(filepath.Dir(snapshot(home)), "chunks", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, chunks)
	require.NoError(t, os.WriteFile(chunks[0], []byte("nonsense"), 0o600))

	r = startKept(t, home, 2, nil)
	cell := r.connect("s1")
	o := cell.result(cell.execute("print('a' in globals())"))
	assert.Equal(t, "False\n", o.stdout)
	assert.Equal(t, []string{"Kernel is back without its variables: what is in the home is not what was kept."}, o.notices())
}

// TestWhoEndsAKernelEndsItsState: by a restart, and by a shutdown.
func TestWhoEndsAKernelEndsItsState(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"restart", "shutdown"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			r := startKept(t, home, 1, nil)
			r.connect("s1").run("a = 5")
			r.parkedWith()
			r = startKept(t, home, 2, func(c *agent.Config) { c.Keep.Short = 0 })
			g := r.connect("s1")
			require.Equal(t, "5\n", g.run("print(a)"))
			status, body := r.request("POST", "/v1/"+how, "")
			require.Less(t, status, 300, body)
			if how == "restart" {
				assert.Equal(t, "False\n", g.run("print('a' in globals())"))
			} else {
				r.cancel() // as the kubelet does, when the Pod is deleted
				assert.Equal(t, protocol.ReasonShutdown, r.ended().Reason)
			}
			require.Eventually(t, func() bool { _, err := os.Stat(snapshot(home)); return os.IsNotExist(err) }, patience, 10*time.Millisecond)
		})
	}
}

// TestWorkBesideTheCells is no rest: a thread that sleeps computes nothing.
func TestWorkBesideTheCells(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	r.connect("s1").run("import threading, time\nt = threading.Thread(target=time.sleep, args=(600,), daemon=True)\nt.start()")
	r.awaitLog("outcome=postponed")
	assert.NoFileExists(t, snapshot(home))
	assert.False(t, r.isDone())
}

// TestAKernelOfAnotherLanguage is parked as ever, in the same words.
func TestAKernelOfAnotherLanguage(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startInHome(t, home, stub(t), kept(t, 1, func(c *agent.Config) { c.IdleTimeout = 3 * time.Second }))
	r.connect("s1").run("1")
	assert.Equal(t, "Kernel parked after 3 s without work. Run a cell to bring it back; variables are gone, files are kept.", r.parkedWith())
	assert.NoDirExists(t, filepath.Join(home, ".elastichub"))
}

// TestATerminatedKernelIsSaved if it is idle, by a drain or the end of a node, say.
func TestATerminatedKernelIsSaved(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, func(c *agent.Config) { c.Keep.Short = 0 })
	r.connect("s1").run("a = 5\ngen = (i for i in range(3))")
	r.cancel()
	assert.Equal(t, protocol.ReasonTerminated, r.ended().Reason)
	require.FileExists(t, snapshot(home))
	require.NotNil(t, r.result.Kept)
	assert.Equal(t, protocol.KeptPart, r.result.Kept.Outcome)
	require.Len(t, r.result.Kept.Lost, 1)
	assert.Contains(t, r.result.Kept.Lost[0], "gen (generator: ")

	r = startKept(t, home, 2, func(c *agent.Config) { c.Keep.Short = 0 })
	g := r.connect("s1")
	require.Equal(t, "5\n", g.run("print(a)"))
	_, end := g.busyCell()
	defer end()
	before, err := os.ReadFile(snapshot(home))
	require.NoError(t, err)
	r.cancel()
	assert.Equal(t, protocol.ReasonTerminated, r.ended().Reason)
	after, err := os.ReadFile(snapshot(home))
	require.NoError(t, err)
	assert.Equal(t, before, after, "it was busy")
	assert.Equal(t, &protocol.Kept{Outcome: protocol.KeptNone}, r.result.Kept)
}

// TestASilentRequestIsNoActivity, and what it has changed is kept.
func TestASilentRequestIsNoActivity(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	g := r.connect("s1")
	g.run("a = 5\ngen = (i for i in range(3))")
	last := r.state().LastActivity
	r.awaitLog("outcome=part")
	silent := g.inspect("a = 6")
	assert.Equal(t, "ok", silent.status())
	assert.Equal(t, last, r.state().LastActivity)
	r.cancel()
	assert.Equal(t, protocol.ReasonTerminated, r.ended().Reason)
	require.FileExists(t, snapshot(home))

	r = startKept(t, home, 2, nil)
	g = r.connect("s1")
	silent = g.inspect("a")
	assert.Empty(t, silent.notices(), "nobody reads it")
	cell := g.result(g.execute("print(a)"))
	assert.Equal(t, "6\n", cell.stdout)
	assert.Len(t, cell.notices(), 1)
}

// inspect runs code as what shows variables does.
func (g *gateway) inspect(code string) outcome {
	g.t.Helper()
	return g.result(g.send(g.build.New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{
		"code": code, "silent": true, "store_history": false, "user_expressions": struct{}{}, "allow_stdin": false,
	})))
}

// TestAStateThatIsNotToBeLoaded, for the leader knows that it is not that of the end.
func TestAStateThatIsNotToBeLoaded(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, nil)
	r.connect("s1").run("a = 5")
	r.parkedWith()
	require.FileExists(t, snapshot(home))
	r = startKept(t, home, 2, func(c *agent.Config) { c.Keep.Loads = -1 })
	g := r.connect("s1")
	cell := g.result(g.execute("print('a' in globals())"))
	assert.Equal(t, "False\n", cell.stdout)
	assert.Equal(t, []string{"Variables from before are gone; files are kept."}, cell.notices())
}

// TestACellThatWaitsIsNotSaved: what is parked at its input() has no state, and none
// of before is left.
func TestACellThatWaitsIsNotSaved(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, func(c *agent.Config) { c.IdleTimeout = 3 * time.Second })
	g := r.connect("s1")
	g.run("a = 5")
	g.execute("a = 6; input()")
	g.until(isType(wire.TypeInputRequest))
	assert.Equal(t, "Kernel parked after 3 s of waiting for input. Run a cell to bring it back; variables are gone, files are kept.", r.parkedWith())
	assert.NoFileExists(t, snapshot(home))
	assert.Equal(t, &protocol.Kept{Outcome: protocol.KeptNone}, r.result.Kept)
}

// TestOldStatesAreSwept by the next kernel of the home, whosever they are.
func TestOldStatesAreSwept(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	directory, err := store.OpenDirectory(home, ".elastichub", "kernels")
	require.NoError(t, err)
	defer directory.Close()
	for kernel, saved := range map[string]time.Time{"old": time.Now().Add(-2 * time.Hour), "young": time.Now()} {
		s, err := store.Open(directory, store.Config{Kernel: kernel, Keys: []store.Key{{9}}, TTL: time.Hour, Now: func() time.Time { return saved }})
		require.NoError(t, err)
		draft, err := s.Save(t.Context(), 1, strings.NewReader("H\x0c\x00\x00\x00\x00\x00\x00\x00{\"format\":1}Z\x13\x00\x00\x00\x00\x00\x00\x00{\"outcome\":\"saved\"}"))
		require.NoError(t, err)
		_, err = draft.Commit()
		require.NoError(t, err)
	}
	startKept(t, home, 1, nil).awaitLog("old states removed")
	kernels := filepath.Join(home, ".elastichub", "kernels")
	assert.NoDirExists(t, filepath.Join(kernels, "old"))
	assert.DirExists(t, filepath.Join(kernels, "young"))
}

// TestTheShortLimitIsSetFromOutside, as the long one is.
func TestTheShortLimitIsSetFromOutside(t *testing.T) {
	t.Parallel()
	r := startKept(t, t.TempDir(), 1, func(c *agent.Config) { c.Keep.Short = 0 })
	r.connect("s1").run("a = 1")
	assert.Zero(t, r.state().KeepSeconds)
	status, _ := r.request("PUT", "/v1/idle", `{"timeoutSeconds": 3600, "keepSeconds": 1e300}`)
	assert.Equal(t, 400, status)
	status, body := r.request("PUT", "/v1/idle", `{"timeoutSeconds": 3600, "keepSeconds": 3600}`)
	assert.Equal(t, 204, status, body)
	assert.InDelta(t, 3600, r.state().KeepSeconds, 0)
	status, body = r.request("PUT", "/v1/idle", `{"timeoutSeconds": 3600, "keepSeconds": 1}`)
	assert.Equal(t, 204, status, body)
	assert.Contains(t, r.parkedWith(), "parked after 1 s without work. Its one variable is kept")
}

// awaitLog waits until the agent has logged something.
func (r *running) awaitLog(text string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return strings.Contains(r.log.String(), text) }, patience, 5*time.Millisecond, text)
}
