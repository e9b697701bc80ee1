package gateway

import (
	"sync"

	"github.com/google/uuid"

	"github.com/elastichub/elastichub/kernels/wire"
)

// cellNotices shows, in the output of a cell that waits, what it waits for. There
// is one notice at a time; it is updated in place.
type cellNotices struct {
	client *clientConn

	mu    sync.Mutex // also orders the writes
	shown *notice
}

type notice struct {
	request *request
	display string // display id
	text    string
}

// showWait shows or updates the notice of a request that still waits; clear or
// refuse may have come in between, and nothing would take the notice away.
func (t *cellNotices) showWait(r *request, text string, still func(*request) bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !still(r) {
		return nil
	}
	if n := t.shown; n != nil && n.request == r {
		if n.text == text {
			return nil
		}
		n.text = text
		return t.client.say(func(b *wire.Builder) []wire.Message {
			return []wire.Message{b.UpdateDisplayData(r.header, wire.Display{ID: n.display, Data: wire.Notice(text)})}
		})
	}
	n := &notice{request: r, display: "elastichub-" + uuid.NewString(), text: text}
	t.shown = n
	return t.client.say(func(b *wire.Builder) []wire.Message {
		return []wire.Message{
			b.Status(r.header, wire.StateBusy),
			b.DisplayData(r.header, wire.Display{ID: n.display, Data: wire.Notice(text)}),
		}
	})
}

// leave gives the notice away, for adopt.
func (t *cellNotices) leave() *notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.shown
	t.shown = nil
	return n
}

// adopt goes on with a notice that the client has on display.
func (t *cellNotices) adopt(n *notice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown = n
}

// clear is called when the kernel first speaks about a request, before that is
// passed on. last is what is to remain to be read in the cell; without it the
// notice goes away and leaves nothing.
func (t *cellNotices) clear(r *request, last string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.shown
	mine := n != nil && n.request == r
	if mine {
		t.shown = nil
	}
	return t.client.say(func(b *wire.Builder) []wire.Message {
		switch {
		case mine && last != "":
			return []wire.Message{b.UpdateDisplayData(r.header, wire.Display{ID: n.display, Data: wire.Notice(last)})}
		case mine:
			return []wire.Message{b.New(wire.IOPub, wire.TypeClearOutput, r.header, map[string]bool{"wait": false})}
		case last != "":
			return []wire.Message{b.DisplayData(r.header, wire.Display{Data: wire.Notice(last)})}
		}
		return nil
	})
}

// refuse answers requests in the kernel's stead with an error. An
// execute_request also shows it in its cell.
func (t *cellNotices) refuse(requests []*request, name, text string) error {
	for _, r := range requests {
		if err := t.clear(r, ""); err != nil {
			return err
		}
		f := wire.Failure{Name: name, Value: text, Traceback: []string{name + ": " + text}}
		err := t.client.say(func(b *wire.Builder) []wire.Message {
			messages := []wire.Message{b.Status(r.header, wire.StateBusy)}
			if r.executes() {
				messages = append(messages, b.Error(r.header, f))
			}
			return append(messages, b.ErrorReply(r.channel, r.header, f), b.Status(r.header, wire.StateIdle))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// answer replies to a request in the kernel's stead.
func (t *cellNotices) answer(r *request, content any) error {
	return t.client.say(func(b *wire.Builder) []wire.Message {
		return []wire.Message{
			b.Status(r.header, wire.StateBusy),
			b.New(r.channel, wire.ReplyType(r.kind), r.header, content),
			b.Status(r.header, wire.StateIdle),
		}
	})
}
