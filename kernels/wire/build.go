package wire

import (
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"time"

	"github.com/google/uuid"
)

// ProtocolVersion is the version of the Jupyter protocol in headers made here.
const ProtocolVersion = "5.4"

// Builder makes messages that a gateway or agent puts into a kernel's stream.
// It is safe for concurrent use.
type Builder struct {
	Session  string           // the session in the headers it makes
	Username string           // the user name there
	Now      func() time.Time // the clock for their dates
}

// NewBuilder returns a builder with a session of its own and the system clock.
func NewBuilder(username string) *Builder {
	return &Builder{Session: uuid.NewString(), Username: username, Now: time.Now}
}

// New makes a message. parentHeader is the raw header of the request it
// belongs to, or nil. It panics if content cannot be marshalled to JSON, which
// is a mistake in the caller's code.
func (b *Builder) New(channel Channel, msgType string, parentHeader []byte, content any) Message {
	header := struct {
		ID       string `json:"msg_id"`
		Type     string `json:"msg_type"`
		Username string `json:"username"`
		Session  string `json:"session"`
		Date     string `json:"date"`
		Version  string `json:"version"`
	}{
		uuid.NewString(), msgType, b.Username, b.Session,
		b.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), ProtocolVersion,
	}
	return Message{
		Channel:      channel,
		Header:       marshal(header),
		ParentHeader: orEmpty(parentHeader),
		Metadata:     emptyObject,
		Content:      marshal(content),
	}
}

func marshal(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("wire: content: %v", err))
	}
	return raw
}

// State is an execution_state of iopub status messages.
type State string

// The states; restarting and dead come from whoever supervises a kernel.
const (
	StateStarting   State = "starting"
	StateIdle       State = "idle"
	StateBusy       State = "busy"
	StateRestarting State = "restarting"
	StateDead       State = "dead"
)

// Status is an iopub status message.
func (b *Builder) Status(parentHeader []byte, state State) Message {
	return b.New(IOPub, TypeStatus, parentHeader, map[string]State{"execution_state": state})
}

// Stream is output text; name is "stdout" or "stderr".
func (b *Builder) Stream(parentHeader []byte, name, text string) Message {
	return b.New(IOPub, TypeStream, parentHeader, map[string]string{"name": name, "text": text})
}

// Display is what a display shows, by MIME type. With an ID it can be updated.
type Display struct {
	ID   string
	Data map[string]string
}

// quoted is a name in a notice.
var quoted = regexp.MustCompile("`([^`]+)`")

// Notice is a sentence of ours among a cell's output: plain text for notebooks
// as files, and HTML that screen readers announce.
func Notice(text string) map[string]string {
	return map[string]string{
		"text/plain": text,
		"text/html": `<div role="status" style="border-left:3px solid #888;padding:.3em .8em;opacity:.85">` +
			quoted.ReplaceAllString(html.EscapeString(text), "<code>$1</code>") + `</div>`,
	}
}

func (d Display) content() any {
	transient := map[string]string{}
	if d.ID != "" {
		transient["display_id"] = d.ID
	}
	return map[string]any{"data": d.Data, "metadata": struct{}{}, "transient": transient}
}

// DisplayData shows a display.
func (b *Builder) DisplayData(parentHeader []byte, d Display) Message {
	return b.New(IOPub, TypeDisplayData, parentHeader, d.content())
}

// UpdateDisplayData replaces every display with the ID of d.
func (b *Builder) UpdateDisplayData(parentHeader []byte, d Display) Message {
	return b.New(IOPub, TypeUpdateDisplayData, parentHeader, d.content())
}

// Failure is an error as a notebook shows it.
type Failure struct {
	Name      string
	Value     string
	Traceback []string // lines; may carry ANSI colours
}

func (f Failure) content(extra map[string]any) map[string]any {
	traceback := f.Traceback
	if traceback == nil {
		traceback = []string{}
	}
	c := map[string]any{"ename": f.Name, "evalue": f.Value, "traceback": traceback}
	for k, v := range extra {
		c[k] = v
	}
	return c
}

// Error is the iopub error message of a failed execution.
func (b *Builder) Error(parentHeader []byte, f Failure) Message {
	return b.New(IOPub, TypeError, parentHeader, f.content(nil))
}

// ErrorReply answers a request in the kernel's stead with status "error". The
// reply's type is the request's with _reply for _request, which holds for every
// request of the protocol; execution_count is zero, as execute_reply needs it.
func (b *Builder) ErrorReply(channel Channel, requestHeader []byte, f Failure) Message {
	return b.New(channel, ReplyType(ParseFields(requestHeader).Type), requestHeader, f.content(map[string]any{
		"status": "error", "execution_count": 0, "user_expressions": struct{}{}, "payload": []any{},
	}))
}

// ReplyType is the type of the reply to a request; other types come back as they are.
func ReplyType(requestType string) string {
	const suffix = "_request"
	if n := len(requestType) - len(suffix); n >= 0 && requestType[n:] == suffix {
		return requestType[:n] + "_reply"
	}
	return requestType
}
