package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/pythontest"
)

// notebookCell is a code cell of the contents API.
type notebookCell struct {
	ID        string
	Source    string
	Execution *int `json:"execution_count"`
	Outputs   []struct {
		Type string `json:"output_type"`
		Text string
		Data map[string]any
	}
}

// TestAClosedPageLosesNothing with the gateway, its agents, a kernel and a notebook server that
// are all real: the page goes while its cells run, the connection to the gateway breaks and the
// notebook server is replaced.
func TestAClosedPageLosesNothing(t *testing.T) {
	python := pythontest.Interpreter(t)
	w := newWorld(t)
	w.server.timing = defaultTiming
	w.controllers(python, nil)
	home := t.TempDir()
	extension := []string{
		"import elastichub.notebook", "elastichub.notebook.configure(c)",
		"from elastichub.notebook.documents import keeper", "keeper.RETURN = 2",
	}
	j := w.jupyterAt(home, python, extension...)
	sources := []string{
		"ran = globals().get('ran', 0) + 1\nimport time\nfor i in range(120): print(i, flush=True); time.sleep(0.1)",
		"shown = display({'text/plain': 'before'}, raw=True, display_id=True)",
		"shown.update({'text/plain': 'after'}, raw=True)\nran",
	}
	var cells []map[string]any
	for i, source := range sources {
		cells = append(cells, map[string]any{
			"id": fmt.Sprintf("c%d", i), "cell_type": "code", "source": source, "metadata": struct{}{}, "outputs": []any{}, "execution_count": nil,
		})
	}
	file, err := json.Marshal(map[string]any{
		"type": "notebook", "format": "json", "content": map[string]any{"cells": cells, "metadata": struct{}{}, "nbformat": 4, "nbformat_minor": 5},
	})
	require.NoError(t, err)
	j.call("PUT", "/api/contents/a.ipynb", string(file), http.StatusCreated, nil)
	var session sessionModel
	j.call("POST", "/api/sessions", `{"path":"a.ipynb","name":"a","type":"notebook","kernel":{"name":"python-cpu"}}`, http.StatusCreated, &session)

	p, _, err := dialPeer(t, j.url+"/api/kernels/"+session.Kernel.ID+"/channels?session_id=page", jupyterToken)
	require.NoError(t, err)
	p.patience = time.Minute
	for i, source := range sources {
		m := wire.NewBuilder("alice").New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{"code": source, "store_history": true})
		m.Metadata = fmt.Appendf(nil, `{"cellId":"c%d","deletedCells":[]}`, i)
		p.write(&m)
	}
	for text := ""; !strings.Contains(text, "10\n"); {
		text += wire.Member(p.next(wire.TypeStream).Content, "text")
	}
	require.NoError(t, p.conn.Close(websocket.StatusGoingAway, ""))
	time.Sleep(time.Second)
	w.cutClients()
	time.Sleep(time.Second)
	j.end()

	j = w.jupyterAt(home, python, extension...)
	read := func() []notebookCell {
		var model struct {
			Content struct{ Cells []notebookCell }
		}
		j.call("GET", "/api/contents/a.ipynb?content=1", "", http.StatusOK, &model)
		return model.Content.Cells
	}
	require.Eventually(t, func() bool { return read()[2].Execution != nil }, time.Minute, 200*time.Millisecond)
	var want strings.Builder
	for i := range 120 {
		fmt.Fprintf(&want, "%d\n", i)
	}
	got := read()
	require.Len(t, got, len(sources))
	for i, c := range got {
		assert.Equal(t, sources[i], c.Source)
		require.NotNil(t, c.Execution)
		assert.Equal(t, i+1, *c.Execution)
		require.Len(t, c.Outputs, 1)
	}
	assert.Equal(t, want.String(), got[0].Outputs[0].Text)
	assert.Equal(t, "after", got[1].Outputs[0].Data["text/plain"])
	assert.Equal(t, "1", got[2].Outputs[0].Data["text/plain"], "it ran once")
}
