package nbformat

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/pythontest"
)

// asPython is what Python's nbformat makes of a file: what it reads, checks and writes.
const asPython = `
import sys, nbformat
nb = nbformat.reads(sys.stdin.read(), as_version=4)
nbformat.validate(nb)
sys.stdout.write(nbformat.writes(nb) + "\n")
`

func python(t *testing.T, program, input string) string {
	t.Helper()
	cmd := exec.Command(pythontest.Interpreter(t), "-c", program)
	cmd.Stdin = strings.NewReader(input)
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	require.NoError(t, err, problem.String())
	return string(out)
}

// odd has what a reader may lose: unknown fields, orders, escapes, half of a surrogate
// pair, large and exact numbers.
const odd = `{
 "cells": [
  {
   "cell_type": "code",
   "execution_count": 3,
   "id": "a",
   "metadata": {
    "z": 1e400,
    "a": 12345678901234567890,
    "tags": [
     "raises-exception"
    ]
   },
   "outputs": [
    {
     "name": "stdout",
     "output_type": "stream",
     "text": [
      "\ud83d \u00e9 <&>\n",
      "x"
     ]
    }
   ],
   "source": "one\ntwo",
   "x-of-mine": {}
  },
  {
   "attachments": {},
   "cell_type": "markdown",
   "id": "b",
   "metadata": {},
   "source": [
    "# T\n",
    "text"
   ]
  }
 ],
 "metadata": {
  "kernelspec": {
   "display_name": "P",
   "name": "python-gpu"
  }
 },
 "nbformat": 4,
 "nbformat_minor": 5,
 "unknown": [
  1.50
 ]
}
`

// TestNothingIsLost: what is read and not changed is written as it was, to the byte.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	n, err := Read([]byte(odd))
	require.NoError(t, err)
	assert.Equal(t, odd, string(n.Bytes()))
	assert.Equal(t, "python-gpu", n.KernelName())
	cells := n.Cells()
	require.Len(t, cells, 2)
	assert.True(t, cells[0].IsCode())
	assert.False(t, cells[1].IsCode())
	assert.Equal(t, "one\ntwo", cells[0].Source())
	assert.Equal(t, "# T\ntext", cells[1].Source())
	assert.True(t, cells[0].HasTag("raises-exception"))
	assert.Equal(t, 3, cells[0].ExecutionCount())

	r := NewRecorder()
	r.Begin(cells[0])
	r.Add(cells[0], Stream, []byte(`{"name": "stdout", "text": "new"}`))
	r.End(cells[0], 7)
	want := strings.Replace(odd, "\"\\ud83d \\u00e9 <&>\\n\",\n      \"x\"", `"new"`, 1)
	want = strings.Replace(want, `"execution_count": 3`, `"execution_count": 7`, 1)
	assert.Equal(t, want, string(n.Bytes()))
}

func TestWhatIsNoNotebook(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "[]", "{}", `{"nbformat": 3, "worksheets": []}`, `{"nbformat": 4}`, `{"nbformat": 4, "cells": {}}`, `{"nbformat": 4, "cells": [1]}`,
		"{\"nbformat\": 4, \"cells\": [], \"x\": \"\xff\"}", `{"nbformat": 4, "cells": []} {}`,
	} {
		_, err := Read([]byte(text))
		assert.ErrorIs(t, err, ErrFormat, text)
	}
}

// TestOutputs are those that Python's nbformat writes for the same messages, and valid.
func TestOutputs(t *testing.T) {
	t.Parallel()
	n := FromScript("first()\n# %%\nsecond()\n", "python")
	first, second := n.Cells()[0], n.Cells()[1]
	r := NewRecorder()
	r.Begin(first)
	for _, m := range [][2]string{
		{Stream, `{"name": "stdout", "text": "gone\n"}`},
		{"clear_output", `{"wait": true}`},
		{Stream, `{"name": "stdout", "text": "a\nb"}`},
		{Stream, `{"name": "stdout", "text": "c\n"}`},
		{Stream, `{"name": "stderr", "text": "w\n"}`},
		{DisplayData, `{"data": {"text/plain": "old"}, "metadata": {}, "transient": {"display_id": "d"}}`},
		{Stream, `{"name": "stderr", "text": "after\n"}`},
		{"status", `{"execution_state": "idle"}`},
	} {
		r.Add(first, m[0], []byte(m[1]))
	}
	r.End(first, 1)
	r.Begin(second)
	for _, m := range [][2]string{
		{"update_display_data", `{"data": {"text/plain": "new"}, "metadata": {"m": 1}, "transient": {"display_id": "d"}}`},
		{ExecuteResult, `{"data": {"text/plain": "1\n2", "image/png": "aGk=\n", "application/vnd.x+json": {"a": [2], "b": 1}}, "metadata": {}, "execution_count": 2}`},
		{Error, `{"ename": "ValueError", "evalue": "no", "traceback": ["\u001b[31mT\u001b[0m", "ValueError: no"]}`},
	} {
		r.Add(second, m[0], []byte(m[1]))
	}
	r.End(second, 2)

	written := string(n.Bytes())
	assert.Equal(t, python(t, asPython, written), written)
	outputs := first.Outputs()
	require.Len(t, outputs, 4)
	assert.Equal(t, []string{"a\nbc\n", "w\n", "", "after\n"}, []string{outputs[0].Text(), outputs[1].Text(), outputs[2].Text(), outputs[3].Text()})
	assert.Equal(t, map[string]string{"text/plain": "new"}, outputs[2].Data())
	outputs = second.Outputs()
	require.Len(t, outputs, 2)
	assert.Equal(t, map[string]string{"text/plain": "1\n2", "image/png": "aGk=\n", "application/vnd.x+json": `{"a":[2],"b":1}`}, outputs[0].Data())
	assert.Equal(t, "ValueError: no", outputs[1].Failure())

	n.Clear()
	assert.Empty(t, second.Outputs())
	assert.Zero(t, second.ExecutionCount())
	assert.Equal(t, python(t, asPython, string(n.Bytes())), string(n.Bytes()))
}

func TestScripts(t *testing.T) {
	t.Parallel()
	n := FromScript("import os\n\n# %% title\na = 1\n# %% [markdown]\n# # Head\n#text\n\n# %%\n\n  # %% more\nb\n", "python")
	var got []string
	for _, c := range n.Cells() {
		kind := "markdown"
		if c.IsCode() {
			kind = "code"
		}
		got = append(got, kind+": "+c.Source())
	}
	assert.Equal(t, []string{"code: import os", "code: a = 1", "markdown: # Head\ntext", "code: b"}, got)
	assert.Equal(t, python(t, asPython, string(n.Bytes())), string(n.Bytes()))
}

// TestIdentify: each cell has an id of its own then, and those that it had.
func TestIdentify(t *testing.T) {
	t.Parallel()
	n, err := Read([]byte(`{"cells": [{"cell_type": "raw", "metadata": {}, "source": ""}, {"cell_type": "raw", "id": "x", "metadata": {}, "source": ""},
		{"cell_type": "raw", "id": "x", "metadata": {}, "source": ""}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}`))
	require.NoError(t, err)
	n.Identify()
	assert.NotEmpty(t, n.Cells()[0].ID())
	assert.Equal(t, "x", n.Cells()[1].ID())
	assert.NotEqual(t, "x", n.Cells()[2].ID())
	python(t, asPython, string(n.Bytes()))
}
