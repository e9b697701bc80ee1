package signals

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds of a Config.
const (
	minWindow = 5 * time.Second
	maxWindow = time.Hour
	// maxTimeout is that of all that the controllers ask about one server.
	maxTimeout    = 10 * time.Second
	maxQueryBytes = 4096
)

// Config says where Prometheus is, or something with its HTTP API.
type Config struct {
	// URL is where its API begins, such as http://prometheus-operated.monitoring:9090;
	// empty: none is asked.
	URL string
	// Required keeps a server of which it knows nothing.
	Required bool
	// TokenFile holds what is shown as a bearer token; empty: nothing. It is read for
	// every question.
	TokenFile string
	// CAFile holds the certificates that may sign its own; empty means those of the system.
	CAFile string
	// Timeout bounds one question.
	Timeout time.Duration
	// Window is how old a measurement may be.
	Window time.Duration
	// MatchLabels are those that the series of this cluster have.
	MatchLabels []Label
	// KeepWhile is PromQL that keeps a server while it gives anything but 0, with
	// $namespace and $pod in it; empty: nothing is asked.
	KeepWhile string
}

// Label is a name and a value.
type Label struct{ Name, Value string }

var labelName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ownLabels are those that questions set.
var ownLabels = []string{"namespace", "pod", "type", "__name__"}

// Validate returns all faults, each with its field.
func (c Config) Validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf(field+": "+format, args...))
	}
	if c.URL == "" && (c.Required || c.TokenFile != "" || c.KeepWhile != "") {
		fault("url", "required, since something else is set")
	}
	if u, err := url.Parse(c.URL); c.URL != "" {
		switch {
		case err != nil:
			fault("url", "%w", err)
		case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
			fault("url", "not like http://prometheus-operated.monitoring:9090: %.200q", u.Redacted())
		}
	}
	if c.Timeout <= 0 || c.Timeout > maxTimeout {
		fault("timeout", "%s is not between 0s and %s", c.Timeout, maxTimeout)
	}
	if c.Window < minWindow || c.Window > maxWindow {
		fault("window", "%s is not between %s and %s", c.Window, minWindow, maxWindow)
	}
	for _, label := range c.MatchLabels {
		if !labelName.MatchString(label.Name) || slices.Contains(ownLabels, label.Name) {
			fault("matchLabels", "%.100q is no label that may be asked for", label.Name)
		}
	}
	switch {
	case len(c.KeepWhile) > maxQueryBytes:
		fault("keepWhile", "longer than %d bytes", maxQueryBytes)
	case c.KeepWhile != "" && !strings.Contains(c.KeepWhile, "$pod"):
		fault("keepWhile", "without $pod it would be the same for all servers")
	}
	return errors.Join(faults...)
}
