package agent

import (
	"fmt"
	"net/http"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

// putNotice takes a notice that people are to read in their cells.
func (a *agent) putNotice(w http.ResponseWriter, r *http.Request) {
	var body protocol.Notice
	if !understand(w, r, &body, func() error {
		if len(body.Text) > protocol.NoticeBytes {
			return fmt.Errorf("text must have at most %d bytes", protocol.NoticeBytes)
		}
		return nil
	}) {
		return
	}
	a.told.Store(&body.Text)
	w.WriteHeader(http.StatusNoContent)
}

// tell shows the notice that was taken last, once in each session that has run a cell.
func (a *agent) tell() {
	text := a.told.Load()
	if text == nil {
		return
	}
	for _, s := range a.everySession() {
		s.tell(a.builder, *text)
	}
}

func (s *session) tell(b *wire.Builder, text string) {
	parent := s.parent()
	s.mu.Lock()
	known := s.told == text || text != "" && parent == nil
	if !known {
		s.told = text
	}
	s.mu.Unlock()
	if !known && text != "" {
		s.put(b.DisplayData(parent, wire.Display{Data: wire.Notice(text)}))
	}
}
