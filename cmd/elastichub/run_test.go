package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/nbformat"
	"github.com/elastichub/elastichub/test/jupytertest"
	"github.com/elastichub/elastichub/test/lockedbuffer"
	"github.com/elastichub/elastichub/test/pythontest"
)

// TestRunCommand: what the exit status says, what is written, and what the keyboard does,
// with a real jupyter_server.
func TestRunCommand(t *testing.T) {
	server := jupytertest.Start(t, jupytertest.Options{Python: pythontest.Interpreter(t), Home: t.TempDir(), Base: "/"})
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o640))
		return path
	}
	token := file("token", jupytertest.Token+"\n")
	t.Setenv("JUPYTERHUB_API_TOKEN", "wrong")
	t.Setenv("JUPYTERHUB_API_URL", "")
	start := func(command *cobra.Command, out, errs *lockedbuffer.Buffer, args ...string) int {
		command.SilenceErrors, command.SilenceUsage = true, true
		command.SetOut(out)
		command.SetErr(errs)
		command.SetArgs(args)
		err := command.ExecuteContext(t.Context())
		var exit exitCode
		if err != nil {
			require.ErrorAs(t, err, &exit)
		}
		return int(exit)
	}
	run := func(args ...string) (int, string, string) {
		out, errs := &lockedbuffer.Buffer{}, &lockedbuffer.Buffer{}
		code := start(runCommand(), out, errs, args...)
		return code, out.String(), errs.String()
	}
	const notebook = `{"cells": [{"cell_type": "code", "metadata": {"mine": 1}, "outputs": [], "execution_count": null, "source": "6 * 7"}],
		"metadata": {"kernelspec": {"name": "python3"}, "of": "mine"}, "nbformat": 4, "nbformat_minor": 4}`
	reachable := []string{"--server", server.URL, "--token-file", token}

	n := file("n.ipynb", notebook)
	code, out, _ := run(append(reachable, n, "--output", n)...)
	assert.Equal(t, 0, code)
	assert.Equal(t, "42\n", out)
	text, err := os.ReadFile(n)
	require.NoError(t, err)
	written, err := nbformat.Read(text)
	require.NoError(t, err)
	assert.Equal(t, "42", written.Cells()[0].Outputs()[0].Data()["text/plain"])
	for _, kept := range []string{`"mine": 1`, `"of": "mine"`, `"nbformat_minor": 4`} {
		assert.Contains(t, string(text), kept)
	}
	info, err := os.Stat(n)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode())

	failing := file("f.py", "print('here')\n# %%\nraise ValueError('no')\n")
	for _, row := range []struct {
		name, says string
		code       int
		args       []string
	}{
		{"a cell that fails", "ValueError: no", 1, append(reachable, failing)},
		{"no file", "no such file", 2, append(reachable, "none.py")},
		{"a file of another kind", "neither .ipynb nor .py", 2, append(reachable, token)},
		{"a notebook of another version", "not a notebook of version 4", 2, append(reachable, file("old.ipynb", `{"nbformat": 3}`))},
		{"no argument", "accepts 1 arg", 2, reachable},
		{"a flag that does not exist", "unknown flag", 2, append(reachable, "--none", n)},
		{"no server", "--server", 2, []string{n}},
		{"no token file", "--token-file", 2, []string{"--server", server.URL, "--token-file", "/nowhere", n}},
		{"an output of a run that nobody waits for", "--output", 2, append(reachable, n, "--detach", "-o", n)},
		{"an output that cannot be written", "/nowhere/x", 2, append(reachable, n, "-o", "/nowhere/x")},
		{"a wrong token", "HTTP status 403", 3, []string{"--server", server.URL, n}},
		{"nobody there", "connection refused", 3, []string{"--server", "http://127.0.0.1:1", n}},
		{"no such kernel", "no-such-kernel", 4, append(reachable, "--kernel", "no-such-kernel", n)},
	} {
		code, _, errs := run(row.args...)
		assert.Equal(t, row.code, code, row.name)
		assert.Contains(t, errs, row.says, row.name)
	}
	logs, errs := &lockedbuffer.Buffer{}, &lockedbuffer.Buffer{}
	assert.Equal(t, 2, start(logsCommand(), logs, errs, append(reachable, "none")...))
	assert.Contains(t, errs.String(), "no such run")

	for _, row := range []struct {
		name, program string
		signals       []syscall.Signal
		says          string
	}{
		{"ctrl-C", "print('up', flush=True)\nimport time\ntime.sleep(99)\n", []syscall.Signal{syscall.SIGINT}, "KeyboardInterrupt"},
		{"ctrl-C twice", "print('up', flush=True)\nimport time\nwhile True:\n    try: time.sleep(99)\n    except KeyboardInterrupt: print('again', flush=True)\n",
			[]syscall.Signal{syscall.SIGINT, syscall.SIGINT}, "again"},
		{"an end", "print('up', flush=True)\nimport time\ntime.sleep(99)\n", []syscall.Signal{syscall.SIGTERM}, "up"},
	} {
		t.Run(row.name, func(t *testing.T) {
			out, errs := &lockedbuffer.Buffer{}, &lockedbuffer.Buffer{}
			ended := make(chan int)
			to := filepath.Join(dir, "interrupted.ipynb")
			go func() {
				ended <- start(runCommand(), out, errs, append(reachable, file("loop.py", row.program), "-o", to)...)
			}()
			for i, s := range row.signals {
				word := []string{"up\n", "again\n"}[i]
				require.Eventually(t, func() bool { return strings.HasSuffix(out.String(), word) }, time.Minute, 10*time.Millisecond)
				require.NoError(t, syscall.Kill(os.Getpid(), s))
			}
			assert.Equal(t, 130, <-ended)
			text, err := os.ReadFile(to)
			require.NoError(t, err)
			assert.Contains(t, string(text), row.says)
		})
	}
}

// TestWholeFiles: what is written is there as a whole, also over a longer file.
func TestWholeFiles(t *testing.T) {
	t.Parallel()
	path := writeConfig(t, strings.Repeat("x", 1<<16))
	notebook := nbformat.FromScript("1", "python")
	require.NoError(t, writeNotebook(path, notebook))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(notebook.Bytes()), string(text))
	all, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, all, 1)
	require.NoError(t, writeNotebook(os.DevNull, notebook))
	assert.True(t, errors.Is(writeNotebook("/nowhere/x", notebook), os.ErrNotExist))
}
