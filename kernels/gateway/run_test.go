package gateway

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/nbformat"
	"github.com/elastichub/elastichub/runner"
	"github.com/elastichub/elastichub/test/lockedbuffer"
	"github.com/elastichub/elastichub/test/pythontest"
)

// TestRuns of notebooks on kernels of the gateway from outside of the notebook server, one
// that is waited for and others that are not, with the gateway, its agents, kernels and the
// server with the extension all real.
func TestRuns(t *testing.T) {
	python := pythontest.Interpreter(t)
	w := newWorld(t)
	w.server.timing = defaultTiming
	w.controllers(python, nil)
	j := w.jupyter(python, "import elastichub.notebook", "elastichub.notebook.configure(c)")
	server, err := runner.Find(t.Context(), j.url, jupyterToken)
	require.NoError(t, err)
	require.NoError(t, server.Running(t.Context()))
	options := func(name string) (runner.Options, *lockedbuffer.Buffer, *lockedbuffer.Buffer) {
		out, errs := &lockedbuffer.Buffer{}, &lockedbuffer.Buffer{}
		return runner.Options{Kernel: "python3", Name: name, Screen: &runner.Screen{Out: out, Err: errs}}, out, errs
	}
	var want strings.Builder
	for i := range 60 {
		fmt.Fprintln(&want, i)
	}
	const counting = "import time\nfor i in range(60): print(i, flush=True); time.sleep(0.1)"

	t.Run("waited for", func(t *testing.T) {
		o, out, errs := options("a.ipynb")
		n := nbformat.FromScript(counting+"\n# %%\n6 * 7", "python")
		cut := atomic.Bool{}
		go func() { // the connection to the gateway breaks meanwhile
			for !strings.Contains(out.String(), "10\n") && t.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
			w.cutClients()
			cut.Store(true)
		}()
		outcome, err := server.Run(t.Context(), n, o)
		require.NoError(t, err)
		assert.Equal(t, runner.Succeeded, outcome)
		assert.True(t, cut.Load())
		assert.Equal(t, want.String()+"42\n", out.String())
		assert.Contains(t, errs.String(), "kernel python-cpu of ", "a notebook made elsewhere")
		var kernels []kernelModel
		j.call("GET", "/api/kernels", "", 200, &kernels)
		assert.Empty(t, kernels)
	})
	t.Run("left alone", func(t *testing.T) {
		o, _, _ := options("long run.ipynb")
		id, err := server.Detach(t.Context(), nbformat.FromScript(counting+"\n# %% [markdown]\n# text\n# %%\n6 * 7", "python"), o)
		require.NoError(t, err)
		assert.Regexp(t, `^long-run-\d{8}T\d{6}-[0-9a-f]{8}$`, id)
		outcome, err := server.Logs(t.Context(), id, false, o.Screen)
		require.NoError(t, err)
		assert.Equal(t, runner.Unfinished, outcome)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var out, errs bytes.Buffer
		outcome, err = server.Logs(ctx, id, true, &runner.Screen{Out: &out, Err: &errs})
		require.NoError(t, err)
		assert.Equal(t, runner.Succeeded, outcome)
		assert.Equal(t, want.String()+"42\n", out.String())
		n, err := server.Document(ctx, id)
		require.NoError(t, err)
		assert.Equal(t, []int{1, 0, 2}, []int{n.Cells()[0].ExecutionCount(), n.Cells()[1].ExecutionCount(), n.Cells()[2].ExecutionCount()})
	})
	t.Run("left alone, and failing", func(t *testing.T) {
		o, _, _ := options("f.py")
		id, err := server.Detach(t.Context(), nbformat.FromScript("print('before')\n# %%\n1 / 0\n# %%\nprint('after')", "python"), o)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var out, errs bytes.Buffer
		outcome, err := server.Logs(ctx, id, true, &runner.Screen{Out: &out, Err: &errs})
		require.NoError(t, err)
		assert.Equal(t, runner.CellFailed, outcome)
		assert.Equal(t, "before\n", out.String())
		assert.Contains(t, errs.String(), "ZeroDivisionError")
	})
}
