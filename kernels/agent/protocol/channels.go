package protocol

import (
	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/kernels/wire"
)

// Subprotocol of the channels WebSocket.
const Subprotocol = "v1.agent.elastichub.io"

// The query of GET PathChannels.
const (
	QuerySession = "session" // 1 to SessionBytes bytes
	QueryEpoch   = "epoch"   // of the Hello that QueryResume follows
	QueryResume  = "resume"  // the last sequence number that the client has
)

// SessionBytes bounds the name of a session.
const SessionBytes = 256

// Close codes of the channels WebSocket.
const (
	CloseEnded    websocket.StatusCode = 4000 // the agent ends; the text is its Reason
	CloseReplaced websocket.StatusCode = 4001 // the session has too many connections
)

// SequenceBytes is the size of the number, little-endian, before each message
// of an agent.
const SequenceBytes = 8

// Hello is the first text frame to a client.
type Hello struct {
	Epoch          string     `json:"epoch"` // names the agent process
	First          uint64     `json:"first"` // the oldest number that is kept
	Next           uint64     `json:"next"`  // the number of the next new message
	ExecutionState wire.State `json:"executionState"`
	Dropped        uint64     `json:"dropped"`
	// Keeps: the agent says in the cell what became of the variables of the run
	// before. Since 3.
	Keeps bool `json:"keeps,omitempty"`
}

// FromAgent is a text frame of an agent. One without a Hello is a newer agent's.
type FromAgent struct {
	Hello *Hello `json:"hello,omitempty"`
}

// FromGateway is a text frame of a gateway.
type FromGateway struct {
	Ack uint64 `json:"ack"` // everything up to this number was written to the client
}
