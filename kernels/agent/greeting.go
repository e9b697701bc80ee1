package agent

import (
	"github.com/elastichub/elastichub/kernels/wire"
)

// greet tells people something about the kernel that is there: under each session's
// last cell, or, where none was run yet, under the first.
func (a *agent) greet(text string) {
	a.mu.Lock()
	a.greeting = text
	a.mu.Unlock()
	for _, s := range a.everySession() {
		s.greet(a.builder, text)
	}
}

func (s *session) greet(b *wire.Builder, text string) {
	s.mu.Lock()
	parent := s.lastExecute
	if parent == nil {
		s.greeting = text
	}
	s.mu.Unlock()
	if parent != nil {
		s.put(b.DisplayData(parent, wire.Display{Data: wire.Notice(text)}))
	}
}

// welcome says under a session's first cell what was to be told before.
func (s *session) welcome(b *wire.Builder) {
	s.mu.Lock()
	text := s.greeting
	s.greeting = ""
	s.mu.Unlock()
	if text != "" {
		s.greet(b, text)
	}
}
