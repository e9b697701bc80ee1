package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tokens"
)

// Identity is who a request comes from. It follows from the token alone.
type Identity struct {
	// User is the Hub user or the name of a client; empty for a notebook that
	// belongs to nobody.
	User string
	// HubUserID tells people apart who have had one name, as the Hub counts them;
	// empty where no Hub has said it.
	HubUserID string
	// Namespace is where the notebook is, and its kernels; empty: that of the gateway.
	Namespace string
	// Notebook is the name of the JupyterNotebook; empty for a client.
	Notebook string
	// NotebookUID is its UID.
	NotebookUID types.UID
	// Policies and Groups are those the notebook was started with.
	Policies []string
	Groups   []string
	// IdleTimeoutSeconds overrides the gateway's, if not nil.
	IdleTimeoutSeconds *int64
}

// owner names who owns what this identity starts. A user and a notebook of the
// same name are different owners, and so are two people who have had one name, and
// whoever has it in another namespace.
func (i Identity) owner() string {
	if i.Namespace != "" {
		return i.Namespace + "/" + i.here()
	}
	return i.here()
}

// here is the owner as the objects of the namespace know him.
func (i Identity) here() string { return owner(i.User, i.HubUserID, i.Notebook) }

func owner(user, hubUserID, notebook string) string {
	switch {
	case user != "" && hubUserID != "":
		return "user/" + user + "#" + hubUserID
	case user != "":
		return "user/" + user
	case notebook != "":
		return "notebook/" + notebook
	default:
		return ""
	}
}

// ownerOf is that of a kernel, as it was noted when the kernel was made.
func ownerOf(k *v1alpha1.JupyterKernel) string {
	return owner(k.Spec.User, k.Labels[v1alpha1.LabelHubUserID], k.Spec.Notebook)
}

// owns reports whether a kernel is the identity's own.
func (i Identity) owns(k *v1alpha1.JupyterKernel) bool {
	o, noted := ownerOf(k), k.Labels[v1alpha1.LabelHubUserID]
	if i.NotebookUID != "" && isOwnedBy(k, i.NotebookUID) {
		switch noted {
		case "":
			o = owner(k.Spec.User, i.HubUserID, k.Spec.Notebook) // of a release that did not note it
		case i.HubUserID: // whatever the person was called when it was made
			o = i.here()
		}
	}
	return o != "" && o == i.here()
}

// made reports whether one of the identity's kernels belongs to its notebook, and not
// to another server of the same user.
func (i Identity) made(k *v1alpha1.JupyterKernel) bool {
	return i.NotebookUID == "" || isOwnedBy(k, i.NotebookUID)
}

func isOwnedBy(k *v1alpha1.JupyterKernel, notebook types.UID) bool {
	return slices.ContainsFunc(k.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == notebook })
}

// maxToken bounds what is taken for a token at all, in bytes.
const maxToken = 8 << 10

// tokenParameter is where clients put their token that cannot set a header on a
// WebSocket, as browsers and @jupyterlab/services do.
const tokenParameter = "token"

// takeToken returns the token of an Authorization header, or else the one in
// the query, as Enterprise Gateway does. It takes that one out of the request:
// no log, error or redirect that is made of the URL can show it.
func takeToken(r *http.Request) (string, error) {
	query := r.URL.Query()
	inQuery := query[tokenParameter]
	if query.Has(tokenParameter) {
		query.Del(tokenParameter)
		r.URL.RawQuery = query.Encode()
		r.RequestURI = r.URL.RequestURI()
	}
	values := r.Header.Values("Authorization")
	if len(values) == 0 && len(inQuery) == 1 && inQuery[0] != "" && len(inQuery[0]) <= maxToken {
		return inQuery[0], nil
	}
	if len(values) != 1 || len(values[0]) > maxToken {
		return "", errMissingToken
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if token == "" || !strings.EqualFold(scheme, "token") && !strings.EqualFold(scheme, "bearer") {
		return "", errMissingToken
	}
	return token, nil
}

var (
	errMissingToken = fail(kindUnauthenticated, "A token is required.")
	errBadToken     = fail(kindUnauthenticated, "The token is not valid here.")
	// errStopped: the token would be valid if its notebook still ran.
	errStopped = errors.New("notebook is stopped")
)

// authenticator finds out who holds a token.
type authenticator struct {
	namespace, gateway string
	others             []string // namespaces that are served, too
	reader             client.Reader
	keys               *reread[tokenKeys]
	clients            *reread[clientTokens]
}

func newAuthenticator(cfg Config, reader client.Reader, now func() time.Time) *authenticator {
	return &authenticator{
		namespace: cfg.Namespace, gateway: cfg.Name, others: cfg.AlsoServes, reader: reader,
		keys:    &reread[tokenKeys]{now: now, load: func() (tokenKeys, error) { return loadTokenKeys(cfg.TokenKeyFile) }},
		clients: &reread[clientTokens]{now: now, load: func() (clientTokens, error) { return loadClients(cfg.ClientsDir) }},
	}
}

// identify returns the holder of a token, as of now. Errors are of kind
// Unauthenticated, or Unavailable when it cannot be told.
func (a *authenticator) identify(ctx context.Context, token string) (Identity, error) {
	clients, err := a.clients.get()
	if err != nil {
		return Identity{}, failBecause(kindUnavailable, "Tokens cannot be checked now.", err)
	}
	if name, ok := clients.match(token); ok {
		return a.client(ctx, name)
	}
	keys, err := a.keys.get()
	if err != nil {
		return Identity{}, failBecause(kindUnavailable, "Tokens cannot be checked now.", err)
	}
	claim, err := keys.verifier.Verify(token)
	if err != nil {
		return Identity{}, failBecause(kindUnauthenticated, "The token is not valid here.", err)
	}
	return a.notebook(ctx, claim)
}

func (a *authenticator) client(ctx context.Context, name string) (Identity, error) {
	var gw v1alpha1.JupyterGateway
	if err := a.reader.Get(ctx, types.NamespacedName{Namespace: a.namespace, Name: a.gateway}, &gw); err != nil {
		return Identity{}, failBecause(kindUnavailable, "The gateway's settings cannot be read now.", err)
	}
	if err := gw.Malformed(); err != nil {
		return Identity{}, failBecause(kindUnavailable, "The gateway's settings cannot be read: an administrator has to mend them.", err)
	}
	if gw.Spec.Auth != nil {
		for _, c := range gw.Spec.Auth.Clients {
			if c.Name == name {
				return Identity{User: name, Policies: slices.Clone(c.Policies)}, nil
			}
		}
	}
	return Identity{}, errBadToken
}

func (a *authenticator) notebook(ctx context.Context, claim tokens.Notebook) (Identity, error) {
	if claim.Namespace != a.namespace && !slices.Contains(a.others, claim.Namespace) {
		return Identity{}, failBecause(kindUnauthenticated, "The token is not valid here.", errors.New("token of another namespace"))
	}
	var nb v1alpha1.JupyterNotebook
	err := a.reader.Get(ctx, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}, &nb)
	switch {
	case apierrors.IsNotFound(err):
		return Identity{}, failBecause(kindUnauthenticated, "The token is not valid here.", err)
	case err != nil:
		return Identity{}, failBecause(kindUnavailable, "Tokens cannot be checked now.", err)
	}
	if err := nb.Malformed(); err != nil { // what its policies are, nobody knows
		return Identity{}, failBecause(kindUnavailable, "The notebook's object cannot be read: an administrator has to mend it.", err)
	}
	if nb.Namespace != a.namespace {
		var gw v1alpha1.JupyterGateway
		if err := a.reader.Get(ctx, types.NamespacedName{Namespace: a.namespace, Name: a.gateway}, &gw); err != nil {
			return Identity{}, failBecause(kindUnavailable, "The gateway's settings cannot be read now.", err)
		}
		if gw.Malformed() != nil || !gw.Serves(nb.Namespace) {
			return Identity{}, failBecause(kindUnauthenticated, "The token is not valid here.", errors.New("token of a namespace that is no longer served"))
		}
	}
	if err := notebookHolds(&nb, claim, types.NamespacedName{Namespace: a.namespace, Name: a.gateway}); err != nil {
		return Identity{}, failBecause(kindUnauthenticated, "The token is not valid here.", err)
	}
	id := Identity{User: nb.Spec.User, HubUserID: nb.Labels[v1alpha1.LabelHubUserID], Notebook: nb.Name, NotebookUID: nb.UID}
	if nb.Namespace != a.namespace {
		id.Namespace = nb.Namespace
	}
	if o := nb.Spec.KernelOptions; o != nil {
		id.Policies, id.Groups, id.IdleTimeoutSeconds = slices.Clone(o.Policies), slices.Clone(o.Groups), o.IdleTimeoutSeconds
	}
	return id, nil
}

// notebookHolds says why a notebook does not, or no longer, hold a token.
func notebookHolds(nb *v1alpha1.JupyterNotebook, claim tokens.Notebook, gateway types.NamespacedName) error {
	switch {
	case string(nb.UID) != claim.UID:
		return errors.New("token of an earlier notebook of that name")
	case nb.Spec.Start != claim.Start:
		return errors.New("token of another start")
	case nb.Spec.User != claim.User:
		return errors.New("notebook now belongs to somebody else")
	case nb.GatewayKey() != gateway:
		return errors.New("notebook uses another gateway")
	case nb.DeletionTimestamp != nil, nb.Spec.Stopped:
		return errStopped
	}
	return nil
}

// ownerReference makes the garbage collector remove a kernel with the notebook
// it belongs to, or with the gateway.
func (i Identity) ownerReference(gw *v1alpha1.JupyterGateway) metav1.OwnerReference {
	if i.Notebook != "" {
		return metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "JupyterNotebook", Name: i.Notebook, UID: i.NotebookUID}
	}
	return metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "JupyterGateway", Name: gw.Name, UID: gw.UID}
}
