package ldap

import (
	"log/slog"
	"sync"
)

// maxInvalidDNs bounds how many values are logged.
const maxInvalidDNs = 100

// invalidDNs logs each value that should be a DN and is not, once.
type invalidDNs struct {
	mu     sync.Mutex
	logged map[string]bool
}

func (o *invalidDNs) logOnce(attribute, value string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.logged == nil {
		o.logged = map[string]bool{}
	}
	if o.logged[value] || len(o.logged) >= maxInvalidDNs {
		return
	}
	o.logged[value] = true
	slog.Warn("a value that is not a DN is ignored", "attribute", attribute, "value", clipText(value, 200), "error", err)
}

// clipText shortens what a directory says for the log.
func clipText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return text[:n] + "…"
}
