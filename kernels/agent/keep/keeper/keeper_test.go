package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keep/frames"
	"github.com/elastichub/elastichub/kernels/agent/keep/keeper"
	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

const savedReport = `{"outcome":"saved","whole":true,"variables":1,"bytes":9}`

func stream(size int) []byte {
	var s []byte
	frame := func(letter frames.Letter, payload []byte) {
		s = append(frames.Frame{Letter: letter, Size: int64(len(payload))}.AppendHead(s), payload...)
	}
	frame(frames.Header, []byte(`{"format":1}`))
	frame(frames.Record, []byte(`{"i":0,"k":"variable","n":"a","t":"bytes"}`))
	frame(frames.Buffer, bytes.Repeat([]byte{1}, size))
	frame(frames.Complete, nil)
	frame(frames.End, []byte(`{"outcome":"saved"}`))
	return s
}

var argument = regexp.MustCompile(`(save|load)\("([^"]+)"`)

// played is a kernel whose side of a FIFO a test plays.
type played struct {
	busy string // answer to busy
	// do plays save and load, with the FIFO, until stop is closed by an interrupt.
	do func(path string, stop <-chan struct{}) (string, error)

	mu         sync.Mutex
	interrupts int
	stop       chan struct{}
	asked      []string
}

func (k *played) Implementation() string { return "ipython" }

func (k *played) Execute(context.Context, string) error { return errors.New("not asked for") }

func (k *played) Evaluate(ctx context.Context, expression string) (string, error) {
	k.mu.Lock()
	k.asked = append(k.asked, expression)
	k.stop = make(chan struct{})
	stop := k.stop
	k.mu.Unlock()
	if strings.HasSuffix(expression, ".busy()") {
		return k.busy, nil
	}
	type answer struct {
		text string
		err  error
	}
	found := argument.FindStringSubmatch(expression)
	answered := make(chan answer, 1)
	go func() {
		text, err := k.do(found[2], stop)
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (k *played) Interrupt() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.interrupts++
	if k.stop != nil { // else it has not been asked for anything yet
		close(k.stop)
		k.stop = nil
	}
	return nil
}

// writing writes a stream to the FIFO, as a kernel does.
func writing(data []byte, report string) func(string, <-chan struct{}) (string, error) {
	return func(path string, stop <-chan struct{}) (string, error) {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return "", err
		}
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			select {
			case <-stop:
			case <-ended:
			}
			file.Close()
		}()
		if _, err := file.Write(data); err != nil {
			return `{"outcome":"failed","error":"nobody reads"}`, nil
		}
		return report, nil
	}
}

// slowVolume is one whose writes wait.
type slowVolume struct {
	store.Volume
	wait  <-chan struct{}
	fails error
}

func (v slowVolume) Write(name string, data []byte) error {
	if v.wait != nil {
		<-v.wait
	}
	if v.fails != nil {
		return v.fails
	}
	return v.Volume.Write(name, data)
}

type keeping struct {
	*keeper.Keeper
	store *store.Store
}

func newKeeper(t *testing.T, change func(store.Volume) store.Volume) keeping {
	t.Helper()
	directory, err := store.OpenDirectory(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { directory.Close() })
	var volume store.Volume = directory
	if change != nil {
		volume = change(volume)
	}
	s, err := store.Open(volume, store.Config{Kernel: "k", Keys: []store.Key{{1}}, TTL: time.Hour})
	require.NoError(t, err)
	limits := keeper.Limits{Begin: time.Minute, Save: time.Minute, Record: time.Minute, Load: time.Minute, Grace: time.Minute}
	return keeping{keeper.New(keeper.Config{Store: s, Run: 1, Files: "/keep", Pipes: t.TempDir(), Limits: limits}), s}
}

func TestASave(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, nil)
	kernel := &played{busy: `{"background":[]}`, do: writing(stream(3<<20), savedReport)}
	saved := k.Save(t.Context(), kernel, false, func() {})
	require.NoError(t, saved.Why)
	require.Equal(t, keeper.Whole, saved.Outcome)
	_, err := k.store.Find(store.Wanted{Run: 1})
	require.ErrorIs(t, err, store.ErrNoSnapshot, "it is not committed")
	_, err = saved.Commit()
	require.NoError(t, err)
	var back bytes.Buffer
	_, err = k.store.Load(t.Context(), store.Wanted{Run: 1}, &back)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(stream(3<<20), back.Bytes()))
	assert.Regexp(t, `^__import__\('_elastichub_keep'\)\.save\("/.*", \{"record_seconds":60,"seconds":60\}\)$`, kernel.asked[1])
}

// TestAKernelIsFreeBeforeItsVolumeIsDone.
func TestAKernelIsFreeBeforeItsVolumeIsDone(t *testing.T) {
	t.Parallel()
	written, free := make(chan struct{}), make(chan struct{})
	k := newKeeper(t, func(v store.Volume) store.Volume { return slowVolume{Volume: v, wait: written} })
	done := make(chan keeper.Saved, 1)
	go func() {
		done <- k.Save(t.Context(), &played{do: writing(stream(10), savedReport)}, true, func() { close(free) })
	}()
	<-free
	assert.Empty(t, done)
	close(written)
	saved := <-done
	assert.Equal(t, keeper.Whole, saved.Outcome)
	saved.Discard()
}

func TestSavesThatCannotBe(t *testing.T) {
	t.Parallel()
	full := func(v store.Volume) store.Volume { return slowVolume{Volume: v, fails: store.ErrVolumeFull} }
	for name, each := range map[string]struct {
		kernel  *played
		volume  func(store.Volume) store.Volume
		outcome keeper.Outcome
		why     error
		text    string
	}{
		"no end of the stream":          {kernel: &played{do: writing(stream(10)[:40], savedReport)}, text: "no whole snapshot"},
		"no stream":                     {kernel: &played{do: writing(nil, savedReport)}, text: "no whole snapshot"},
		"another outcome":               {kernel: &played{do: writing(stream(10), `{"outcome":"failed","error":"because"}`)}, text: "because"},
		"too large":                     {kernel: &played{do: writing(stream(10)[:40], `{"outcome":"too large"}`)}, why: store.ErrTooLarge},
		"interrupted by somebody else":  {kernel: &played{do: writing(stream(10)[:40], `{"outcome":"interrupted"}`)}, outcome: keeper.Postponed},
		"no document":                   {kernel: &played{do: writing(stream(10), `<object>`)}, text: "no document"},
		"the volume is full":            {kernel: &played{do: writing(stream(9<<20), savedReport)}, volume: full, why: store.ErrVolumeFull},
		"the volume is full at the end": {kernel: &played{do: writing(stream(10), savedReport)}, volume: full, why: store.ErrVolumeFull},
		"the process ends":              {kernel: &played{do: func(string, <-chan struct{}) (string, error) { return "", keeper.ErrGone }}, why: keeper.ErrGone},
		"work beside the cells":         {kernel: &played{busy: `{"background":[{"kind":"thread","name":"t"}]}`}, outcome: keeper.Postponed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKeeper(t, each.volume)
			saved := k.Save(t.Context(), each.kernel, each.kernel.busy == "", func() {})
			assert.Equal(t, each.outcome, saved.Outcome)
			require.Error(t, saved.Why)
			if each.why != nil {
				require.ErrorIs(t, saved.Why, each.why)
			}
			assert.ErrorContains(t, saved.Why, each.text)
			_, err := k.store.Find(store.Wanted{Run: 1})
			assert.ErrorIs(t, err, store.ErrNoSnapshot)
			require.NoError(t, k.Forget(), "nothing is locked")
		})
	}
}

// TestAnInterrupt is sent while the kernel saves, until it answers, and not after.
func TestAnInterrupt(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	kernel := &played{do: func(path string, stop <-chan struct{}) (string, error) {
		close(began)
		<-stop
		return `{"outcome":"interrupted"}`, nil
	}}
	done := make(chan keeper.Saved, 1)
	go func() { done <- k.Save(ctx, kernel, true, func() {}) }()
	<-began
	cancel()
	saved := <-done
	assert.Equal(t, keeper.Postponed, saved.Outcome)
	assert.Equal(t, 1, kernel.interrupts)
}

// TestAKernelThatDoesNotAnswer holds nothing up for longer than it may.
func TestAKernelThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	directory, err := store.OpenDirectory(t.TempDir())
	require.NoError(t, err)
	defer directory.Close()
	s, err := store.Open(directory, store.Config{Kernel: "k", Keys: []store.Key{{1}}, TTL: time.Hour})
	require.NoError(t, err)
	k := keeper.New(keeper.Config{Store: s, Run: 2, Pipes: t.TempDir(), Limits: keeper.Limits{
		Begin: time.Millisecond, Save: time.Millisecond, Load: time.Millisecond, Grace: 10 * time.Millisecond,
	}})
	silent := &played{do: func(string, <-chan struct{}) (string, error) { select {} }}
	saved := k.Save(t.Context(), silent, true, func() {})
	assert.Equal(t, keeper.Failed, saved.Outcome)
	assert.Contains(t, keeper.NotKept(saved.Why), "the kernel did not answer")
	assert.Positive(t, silent.interrupts)
	_, err = k.Load(t.Context(), silent, nil)
	require.Error(t, err)
}

// TestALoad gives the stream back, and says in which record a process died.
func TestALoad(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, nil)
	saved := k.Save(t.Context(), &played{do: writing(stream(9<<20), savedReport)}, true, func() {})
	_, err := saved.Commit()
	require.NoError(t, err)
	limits := keeper.Limits{Begin: time.Minute, Save: time.Minute, Load: time.Minute, Grace: time.Minute}
	next := keeper.New(keeper.Config{Store: k.store, Run: 2, Pipes: t.TempDir(), Limits: limits})
	later := keeper.New(keeper.Config{Store: k.store, Run: 3, Pipes: t.TempDir(), Limits: limits})
	_, err = next.Waits()
	require.NoError(t, err)
	_, err = later.Waits()
	require.ErrorIs(t, err, store.ErrOtherRun)
	_, err = keeper.New(keeper.Config{Store: k.store, Run: 3, Loads: 1}).Waits()
	require.NoError(t, err, "run 2 never was ready")

	var back []byte
	kernel := &played{do: func(path string, _ <-chan struct{}) (string, error) {
		file, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer file.Close()
		back = make([]byte, len(stream(9<<20)))
		_, err = io.ReadFull(file, back)
		return `{"outcome":"loaded","variables":1,"seconds":0.5}`, err
	}}
	report, err := next.Load(t.Context(), kernel, []keeper.Record{{Number: 7}})
	require.NoError(t, err)
	assert.Equal(t, 1, report.Variables)
	assert.True(t, bytes.Equal(stream(9<<20), back))
	assert.Contains(t, kernel.asked[0], `"without":[7]`)

	kernel = &played{}
	kernel.do = func(path string, _ <-chan struct{}) (string, error) {
		progress := regexp.MustCompile(`"progress":"([^"]+)"`).FindStringSubmatch(kernel.asked[0])[1]
		err := os.WriteFile(progress, []byte(`{"i":3,"k":"variable","n":"fine","t":"int","c":1}`+"\n"+`{"i":4,"k":"variable","n":"trap","t":"Trap","c":2}`+"\n"), 0o600)
		return "", errors.Join(err, keeper.ErrGone)
	}
	_, err = next.Load(t.Context(), kernel, nil)
	var died *keeper.DiedError
	require.ErrorAs(t, err, &died)
	assert.Equal(t, "trap", died.Record.Name)
	assert.Equal(t, 4, died.Record.Number)
	require.NoError(t, next.Forget(), "nothing is locked")
}
