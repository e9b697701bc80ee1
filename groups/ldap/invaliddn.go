package ldap

import (
	"log/slog"
	"sync"
)

// maxOddValues bounds how many values are told of.
const maxOddValues = 100

// oddValues tells of each value that was to be a DN and is none, once.
type oddValues struct {
	mu   sync.Mutex
	told map[string]bool
}

func (o *oddValues) tell(attribute, value string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told == nil {
		o.told = map[string]bool{}
	}
	if o.told[value] || len(o.told) >= maxOddValues {
		return
	}
	o.told[value] = true
	slog.Warn("not a group: left out", "attribute", attribute, "value", clipText(value, 200), "error", err)
}

// clipText shortens what a directory says for the log.
func clipText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return text[:n] + "…"
}
