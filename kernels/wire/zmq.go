package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"sync"
)

// SignatureScheme is the only scheme there is, as a connection file names it.
const SignatureScheme = "hmac-sha256"

var delimiter = []byte("<IDS|MSG>")

// Signer signs and verifies messages with a kernel's connection key. It is
// safe for concurrent use. An empty key means that messages are not signed.
type Signer struct {
	unsigned bool
	macs     sync.Pool
}

type mac struct {
	hash hash.Hash
	sum  [sha256.Size]byte
	text [2 * sha256.Size]byte
}

// NewSigner returns a signer for the key of a connection file.
func NewSigner(key []byte) *Signer {
	key = append([]byte(nil), key...)
	return &Signer{
		unsigned: len(key) == 0,
		macs:     sync.Pool{New: func() any { return &mac{hash: hmac.New(sha256.New, key)} }},
	}
}

func (s *Signer) sign(m *mac, parts ...[]byte) {
	m.hash.Reset()
	for _, p := range parts {
		m.hash.Write(p)
	}
	hex.Encode(m.text[:], m.hash.Sum(m.sum[:0]))
}

// AppendZMQ appends to parts the identities, the delimiter, the signature and
// the message. Only the signature is new memory.
func (s *Signer) AppendZMQ(parts [][]byte, identities [][]byte, msg *Message) [][]byte {
	header, parent := orEmpty(msg.Header), orEmpty(msg.ParentHeader)
	metadata, content := orEmpty(msg.Metadata), orEmpty(msg.Content)
	signature := []byte{}
	if !s.unsigned {
		m := s.macs.Get().(*mac)
		s.sign(m, header, parent, metadata, content)
		signature = append(signature, m.text[:]...)
		s.macs.Put(m)
	}
	parts = append(parts, identities...)
	parts = append(parts, delimiter, signature, header, parent, metadata, content)
	return append(parts, msg.Buffers...)
}

// ParseZMQ verifies a multipart message that came from a socket of the given
// channel. Identities (on iopub: the topic) and message point into parts.
func (s *Signer) ParseZMQ(channel Channel, parts [][]byte) (identities [][]byte, msg Message, err error) {
	if len(parts) > MaxParts {
		return nil, Message{}, fmt.Errorf("%w: %d", ErrParts, len(parts))
	}
	at := -1
	for i, p := range parts {
		if string(p) == string(delimiter) {
			at = i
			break
		}
	}
	if at < 0 {
		return nil, Message{}, ErrDelimiter
	}
	identities, parts = parts[:at:at], parts[at+1:]
	if len(parts) < 5 {
		return nil, Message{}, fmt.Errorf("%w: %d behind the delimiter", ErrParts, len(parts))
	}
	if !s.unsigned {
		m := s.macs.Get().(*mac)
		s.sign(m, parts[1], parts[2], parts[3], parts[4])
		same := hmac.Equal(m.text[:], parts[0])
		s.macs.Put(m)
		if !same {
			return nil, Message{}, ErrSignature
		}
	}
	msg = Message{Channel: channel, Header: parts[1], ParentHeader: parts[2], Metadata: parts[3], Content: parts[4]}
	if len(parts) > 5 {
		msg.Buffers = parts[5:]
	}
	return identities, msg, nil
}
