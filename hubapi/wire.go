package hubapi

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/internalssl"
	"github.com/elastichub/elastichub/spawner"
)

// formBody is a submitted form: every value of every field, as a browser
// sent them.
type formBody struct {
	Form   map[string][]string `json:"form"`
	SignIn *signIn             `json:"sign_in"`
}

// optionsBody is user_options as the Hub keeps them.
type optionsBody struct {
	Options json.RawMessage `json:"options"`
	SignIn  *signIn         `json:"sign_in"`
}

type checkedOptions struct {
	Options forms.Options `json:"options"`
	// Dropped is what stored options had that means nothing now.
	Dropped []fieldFault `json:"dropped,omitempty"`
}

// startBody asks for a server to run.
type startBody struct {
	Start   string            `json:"start"`
	Options json.RawMessage   `json:"options"`
	Env     map[string]string `json:"env"`
	Command []string          `json:"cmd"`
	Args    []string          `json:"args"`
	SSL     *sslBody          `json:"ssl"`
	SignIn  *signIn           `json:"sign_in"`
}

// sslBody is what a Hub with internal_ssl has made for a server, as PEM.
type sslBody struct {
	Key         string `json:"key"`
	Certificate string `json:"cert"`
	Authorities string `json:"ca"`
}

func (b *sslBody) pair() *internalssl.Pair {
	if b == nil {
		return nil
	}
	return &internalssl.Pair{Key: b.Key, Certificate: b.Certificate, Authorities: b.Authorities}
}

// serverHost is where a server answers, or would.
type serverHost struct {
	Host string `json:"host"`
}

// serverState is a server as the Hub sees it.
type serverState struct {
	User   string `json:"user"`
	Server string `json:"server"`
	// HubUser is who the user is, for servers that a Hub which says it has started.
	HubUser string `json:"hub_user,omitempty"`
	Start   string `json:"start"`
	Phase   string `json:"phase"`
	Ready   bool   `json:"ready"`
	Stopped bool   `json:"stopped"`
	// URL is set while ready.
	URL            string          `json:"url,omitempty"`
	Reason         string          `json:"reason,omitempty"`
	Message        string          `json:"message,omitempty"`
	LastActivity   *time.Time      `json:"last_activity,omitempty"`
	StopEligibleAt *time.Time      `json:"stop_eligible_at,omitempty"`
	Options        json.RawMessage `json:"options,omitempty"`
}

type serverList struct {
	Servers []serverState `json:"servers"`
}

// progressEvent is the data of every event in a stream.
type progressEvent struct {
	Progress int       `json:"progress"`
	Message  string    `json:"message"`
	Time     time.Time `json:"time"`
}

func wireState(s spawner.State) serverState {
	w := serverState{
		User: s.User, Server: s.Server, HubUser: s.HubUser.String(), Start: s.Start, Phase: string(s.Phase),
		Ready: s.Phase == v1alpha1.NotebookReady, Stopped: s.Phase == v1alpha1.NotebookStopped,
		Reason: s.Reason, Message: s.Message,
		LastActivity: instant(s.LastActivity), StopEligibleAt: instant(s.StopEligibleAt),
	}
	if w.Ready {
		w.URL = s.URL
	}
	if json.Valid(s.Options) {
		w.Options = s.Options
	}
	return w
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is the JSON pointer (RFC 6901) of a field inside an object.
func pointer(path ...string) string {
	var text strings.Builder
	for _, name := range path {
		text.WriteByte('/')
		text.WriteString(pointerEscaper.Replace(name))
	}
	return text.String()
}
