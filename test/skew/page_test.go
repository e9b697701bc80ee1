package skew

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/jupytertest"
)

// cell runs code in a kernel, as a page that opens it does, and returns what it printed.
func (w *world) cell(kernel, code string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, w.server.URL+"/api/kernels/"+kernel+"/channels?session_id="+uuid.NewString(), &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"token " + jupytertest.Token}}, Subprotocols: []string{wire.SubprotocolV1},
	})
	require.NoError(w.t, err)
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	request := wire.NewBuilder("alice").New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{"code": code, "silent": false, "store_history": true, "user_expressions": map[string]any{}, "allow_stdin": false, "stop_on_error": true})
	require.NoError(w.t, conn.Write(ctx, websocket.MessageBinary, request.AppendV1(nil)))
	var printed, passed strings.Builder
	replied, idle := false, false // on channels of their own, in any order
	for {
		_, data, err := conn.Read(ctx)
		require.NoError(w.t, err, "%s: printed %q; passed %s", code, printed.String(), passed.String())
		m, err := wire.ParseV1(data)
		require.NoError(w.t, err)
		if string(wire.ParseFields(m.ParentHeader).ID) != request.ID() {
			continue
		}
		var content struct {
			Text   string `json:"text"`
			Name   string `json:"name"`
			Status string `json:"status"`
			State  string `json:"execution_state"`
		}
		require.NoError(w.t, json.Unmarshal(m.Content, &content))
		switch m.Type() {
		case wire.TypeStream:
			if content.Name == "stdout" {
				printed.WriteString(content.Text)
			}
		case wire.TypeExecuteReply:
			require.Equal(w.t, "ok", content.Status, string(m.Content))
			replied = true
		case wire.TypeStatus:
			idle = content.State == "idle"
		}
		passed.WriteString(m.Type() + " ")
		if replied && idle {
			return strings.TrimSpace(printed.String())
		}
	}
}
