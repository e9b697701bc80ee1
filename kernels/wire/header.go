package wire

// Message types that this project acts upon. Others pass through.
const (
	TypeExecuteRequest    = "execute_request"
	TypeExecuteReply      = "execute_reply"
	TypeExecuteInput      = "execute_input"
	TypeExecuteResult     = "execute_result"
	TypeKernelInfoRequest = "kernel_info_request"
	TypeKernelInfoReply   = "kernel_info_reply"
	TypeInterruptRequest  = "interrupt_request"
	TypeInterruptReply    = "interrupt_reply"
	TypeShutdownRequest   = "shutdown_request"
	TypeShutdownReply     = "shutdown_reply"
	TypeInputRequest      = "input_request"
	TypeInputReply        = "input_reply"
	TypeStatus            = "status"
	TypeStream            = "stream"
	TypeDisplayData       = "display_data"
	TypeUpdateDisplayData = "update_display_data"
	TypeError             = "error"
	TypeCommOpen          = "comm_open"
	TypeCommMsg           = "comm_msg"
	TypeCommClose         = "comm_close"
	TypeCommInfoRequest   = "comm_info_request"
	TypeCommInfoReply     = "comm_info_reply"
	TypeCompleteRequest   = "complete_request"
	TypeCompleteReply     = "complete_reply"
	TypeInspectRequest    = "inspect_request"
	TypeInspectReply      = "inspect_reply"
	TypeHistoryRequest    = "history_request"
	TypeHistoryReply      = "history_reply"
	TypeIsCompleteRequest = "is_complete_request"
	TypeIsCompleteReply   = "is_complete_reply"
	TypeDebugRequest      = "debug_request"
	TypeDebugReply        = "debug_reply"
	TypeDebugEvent        = "debug_event"
	TypeClearOutput       = "clear_output"
	TypeIOPubWelcome      = "iopub_welcome"
)

// interned avoids an allocation for the types above.
var interned = func() map[string]string {
	m := map[string]string{}
	for _, t := range []string{
		TypeExecuteRequest, TypeExecuteReply, TypeExecuteInput, TypeExecuteResult,
		TypeKernelInfoRequest, TypeKernelInfoReply, TypeInterruptRequest, TypeInterruptReply,
		TypeShutdownRequest, TypeShutdownReply, TypeInputRequest, TypeInputReply,
		TypeStatus, TypeStream, TypeDisplayData, TypeUpdateDisplayData, TypeError,
		TypeCommOpen, TypeCommMsg, TypeCommClose, TypeCommInfoRequest, TypeCommInfoReply,
		TypeCompleteRequest, TypeCompleteReply, TypeInspectRequest, TypeInspectReply,
		TypeHistoryRequest, TypeHistoryReply, TypeIsCompleteRequest, TypeIsCompleteReply,
		TypeDebugRequest, TypeDebugReply, TypeDebugEvent, TypeClearOutput, TypeIOPubWelcome,
	} {
		m[t] = t
	}
	return m
}()

func intern(b []byte) string {
	if s, ok := interned[string(b)]; ok {
		return s
	}
	return string(b)
}

// Fields are the header fields that routing needs. A field that is missing or
// not a string is empty. ID, Session and Subshell may point into the header.
type Fields struct {
	Type     string
	ID       []byte
	Session  []byte
	Subshell []byte
}

// ParseFields scans a header or parent header once. What is not a JSON object
// has no fields.
func ParseFields(header []byte) Fields {
	var f Fields
	s := scanner{data: header}
	if s.open() != nil {
		return f
	}
	for {
		key, value, ok, err := s.next()
		if err != nil || !ok {
			return f
		}
		switch string(key) {
		case "msg_type":
			f.Type = intern(text(value))
		case "msg_id":
			f.ID = text(value)
		case "session":
			f.Session = text(value)
		case "subshell_id":
			f.Subshell = text(value)
		}
	}
}

// Fields scans the message's header; use it rather than Type, ID and Session
// where more than one of them is needed.
func (m *Message) Fields() Fields { return ParseFields(m.Header) }

// Type is the header's msg_type.
func (m *Message) Type() string { return ParseFields(m.Header).Type }

// ID is the header's msg_id.
func (m *Message) ID() string { return string(ParseFields(m.Header).ID) }

// Session is the header's session.
func (m *Message) Session() string { return string(ParseFields(m.Header).Session) }

// ParentID is the msg_id of the request this message answers.
func (m *Message) ParentID() string { return string(ParseFields(m.ParentHeader).ID) }

// ParentType is the msg_type of the request this message answers.
func (m *Message) ParentType() string { return ParseFields(m.ParentHeader).Type }

// ExecutionState is the state in the content of a status message, else empty.
func (m *Message) ExecutionState() string { return Member(m.Content, "execution_state") }

// Member returns the string value of one top-level member of a JSON object, or
// nothing if it is absent or no string.
func Member(object []byte, name string) string {
	raw, _ := rawMember(object, name)
	return string(text(raw))
}

// IsTrue reports whether an object has a member that is true.
func IsTrue(object []byte, name string) bool {
	raw, found := rawMember(object, name)
	return found && string(raw) == "true"
}

// HasMember reports whether a JSON object has a top-level member of that name.
func HasMember(object []byte, name string) bool {
	_, found := rawMember(object, name)
	return found
}

func rawMember(object []byte, name string) (value []byte, found bool) {
	s := scanner{data: object}
	if s.open() != nil {
		return nil, false
	}
	for {
		k, v, ok, err := s.next()
		if err != nil || !ok {
			return value, found
		}
		if string(k) == name {
			value, found = v, true
		}
	}
}
