// Package protocol declares what an agent and those who call it, gateways and
// controllers, say to each other: the environment an agent is started with, the
// calls and frames of its one port, and the message it leaves when it ends. It
// says nothing about when which of them is sent. See docs/agent-protocol.md.
package protocol
