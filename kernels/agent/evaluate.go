package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/elastichub/elastichub/kernels/agent/keep/keeper"
	"github.com/elastichub/elastichub/kernels/agent/zmtp"
	"github.com/elastichub/elastichub/kernels/wire"
)

// evaluate has the kernel make the value of an expression, and returns its repr.
func (k *kernel) evaluate(ctx context.Context, expression string) (string, error) {
	const name = "value"
	content, err := k.request(ctx, "", map[string]string{name: expression})
	if err != nil {
		return "", err
	}
	return valueIn(content, name)
}

// execute has the kernel run code, and waits for its end.
func (k *kernel) execute(ctx context.Context, code string) error {
	content, err := k.request(ctx, code, map[string]string{})
	if err != nil {
		return err
	}
	var reply failure
	if err := json.Unmarshal(content, &reply); err != nil {
		return fmt.Errorf("agent: execute_reply: %w", err)
	}
	return reply.err()
}

// request sends a request that is silent, and returns the content of its reply: it
// leaves nothing in the kernel's history, and clients see nothing of it.
func (k *kernel) request(ctx context.Context, code string, expressions map[string]string) ([]byte, error) {
	c := k.shell.Load()
	if c == nil {
		return nil, errors.New("agent: no shell connection")
	}
	m := k.a.builder.New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{
		"code": code, "silent": true, "store_history": false, "allow_stdin": false, "stop_on_error": false,
		"user_expressions": expressions,
	})
	return k.exchange(ctx, c, m)
}

// exchange sends a request of the agent's own, and returns the content of its reply.
func (k *kernel) exchange(ctx context.Context, c *zmtp.Conn, m wire.Message) ([]byte, error) {
	id, replied := m.ID(), make(chan []byte, 1)
	k.mu.Lock()
	k.replies[id] = replied
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.replies, id)
	}()
	if err := c.Send(k.a.signer.AppendZMQ(nil, nil, &m)); err != nil {
		return nil, err
	}
	select {
	case content := <-replied:
		return content, nil
	case <-k.done:
		return nil, keeper.ErrGone
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// replied takes the reply to a request of exchange.
func (k *kernel) replied(id, content []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if replied := k.replies[string(id)]; replied != nil {
		delete(k.replies, string(id))
		replied <- bytes.Clone(content)
	}
}

// failure is what a reply says of how its request went.
type failure struct {
	Status string
	Name   string `json:"ename"`
	Value  string `json:"evalue"`
}

func (f failure) err() error {
	if f.Status == "ok" {
		return nil
	}
	return fmt.Errorf("agent: the kernel answers %q: %s: %s", f.Status, f.Name, f.Value)
}

// valueIn finds a value's repr in the content of an execute_reply.
func valueIn(content []byte, name string) (string, error) {
	var reply struct {
		failure
		Expressions map[string]struct {
			failure
			Data map[string]any
		} `json:"user_expressions"`
	}
	if err := json.Unmarshal(content, &reply); err != nil {
		return "", fmt.Errorf("agent: execute_reply: %w", err)
	}
	value := reply.Expressions[name]
	for _, f := range []failure{reply.failure, value.failure} {
		if err := f.err(); err != nil {
			return "", err
		}
	}
	text, ok := value.Data["text/plain"].(string)
	if !ok {
		return "", errors.New("agent: the kernel's answer has no text")
	}
	return text, nil
}

// ownOutput keeps from clients what the kernel publishes for the agent's requests.
type ownOutput struct {
	running string // msg_id of the request that is carried out
	cell    []byte // header of the client's request that was last begun
}

// passes reports whether a message is a client's business after all: what a thread
// of the user's prints after a request of the agent's, IPython may take for that
// request's. It is shown under the last cell then. So it is with what the debugger says
// of a cell.
func (o *ownOutput) passes(m *wire.Message, parent wire.Fields, state wire.State) bool {
	switch {
	case ofCell(m):
		m.ParentHeader = []byte("{}")
		return true
	case state == wire.StateBusy:
		o.running = string(parent.ID)
		return false
	case state != "":
		o.running = ""
		return false
	case o.running == string(parent.ID) || m.Type() == wire.TypeExecuteInput:
		return false
	}
	m.ParentHeader = o.cell
	if len(o.cell) == 0 {
		m.ParentHeader = []byte("{}")
	}
	return true
}

// keptKernel is a kernel as a keeper has it.
type keptKernel struct{ *kernel }

func (k keptKernel) Implementation() string { return implementation(k.info) }

func (k keptKernel) Execute(ctx context.Context, code string) error { return k.execute(ctx, code) }

func (k keptKernel) Evaluate(ctx context.Context, expression string) (string, error) {
	return k.evaluate(ctx, expression)
}

func (k keptKernel) Interrupt() error { return k.interruptAlone() }
