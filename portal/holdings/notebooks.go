package holdings

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Notebook is one JupyterNotebook: what is asked for, whether it runs or not, and the server
// that runs for it, under the same name.
type Notebook struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// OfHub: the Hub makes, starts and deletes it.
	OfHub bool `json:"of_hub"`
	// URL is where, inside the cluster, the server answers while it runs.
	URL     string `json:"url"`
	Home    *Home  `json:"home,omitempty"`
	Gateway string `json:"gateway,omitempty"`
	Auth    *Auth  `json:"auth,omitempty"`
	// IdleStopSeconds is after how long the server is stopped for idleness; zero: never.
	IdleStopSeconds int64  `json:"idle_stop_seconds,omitempty"`
	Server          Server `json:"server"`
}

// Home is the volume of a notebook that outlives it.
type Home struct {
	// Claim is the name of the PersistentVolumeClaim.
	Claim string `json:"claim"`
	// SubPath is the directory of it that is the home; empty where that is all of it.
	SubPath   string `json:"sub_path,omitempty"`
	Size      string `json:"size"`
	MountPath string `json:"mount_path"`
}

// Auth is how people sign in to a notebook's server; without it Jupyter makes up a token. What the
// tokens are is not told.
type Auth struct {
	// Mode is enable or disable; empty: enable.
	Mode string `json:"mode,omitempty"`
	// TokenSecret and PasswordSecret are where token and password are.
	TokenSecret    *SecretKey `json:"token_secret,omitempty"`
	PasswordSecret *SecretKey `json:"password_secret,omitempty"`
}

// SecretKey is one key of a Secret.
type SecretKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

func authOf(auth *v1alpha1.JupyterAuth) *Auth {
	if auth == nil {
		return nil
	}
	key := func(ref *corev1.SecretKeySelector) *SecretKey {
		if ref == nil {
			return nil
		}
		return &SecretKey{ref.Name, ref.Key}
	}
	return &Auth{auth.Mode, key(auth.TokenSecretRef), key(auth.PasswordSecretRef)}
}

// NotebookOf is one with its server.
func NotebookOf(nb *v1alpha1.JupyterNotebook, s Server) Notebook {
	n := Notebook{Name: nb.Name, Version: Version(nb), OfHub: nb.IsOfHub(), URL: nb.Address(), Home: HomeOf(nb), Server: s}
	n.Auth = authOf(nb.Spec.Auth)
	if nb.Spec.Gateway != nil {
		n.Gateway = nb.Spec.Gateway.Name
	}
	n.IdleStopSeconds = int64(nb.Spec.IdleStop.Limit() / time.Second)
	return n
}

// HomeOf is the home of a notebook, nil if it has none.
func HomeOf(nb *v1alpha1.JupyterNotebook) *Home {
	if nb.HomeClaim() == "" {
		return nil
	}
	home := nb.Spec.Storage.Home
	if home.Static != nil {
		return &Home{Claim: home.Static.Claim, SubPath: home.Static.SubPath, MountPath: home.Path()}
	}
	return &Home{Claim: nb.HomeClaim(), Size: home.Size.String(), MountPath: home.Path()}
}

// Version of an object is another when somebody has changed its spec, or made it anew; what
// the controllers write into the status changes nothing.
func Version(o metav1.Object) string { return fmt.Sprintf("%s.%d", o.GetUID(), o.GetGeneration()) }

// NotebooksOf turns a page of servers into one of their notebooks.
func (h Holdings) NotebooksOf(page Page[Server]) Page[Notebook] {
	notebooks := Page[Notebook]{Items: make([]Notebook, 0, len(page.Items)), Total: page.Total, Next: page.Next}
	for _, s := range page.Items {
		notebooks.Items = append(notebooks.Items, NotebookOf(h.notebooks[s.Name], s))
	}
	return notebooks
}
