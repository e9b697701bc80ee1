// Package consoleapi asks the API of the console for what objects do not tell: what somebody
// may have and why, and hours. It comes as an account of Kubernetes, through a port-forward
// of the API server to a Pod of the service; its errors are whole sentences.
//
//	caller's kubeconfig ─ TokenRequest ─▶ token of the account, audience elastichub, 10 min
//	                    ─ Service ─▶ Pod that is ready ─ port-forward ─▶ GET /api/v1/…
//
// The API server's own proxy to Services would do without the port-forward, but it takes the
// Authorization header off.
package consoleapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

const (
	// audience is what the console takes tokens for.
	audience = "elastichub"
	// tokenSeconds is the shortest that the API server grants.
	tokenSeconds = 600
	// portName is that of the service's port for people.
	portName = "http"
	// maxAnswer bounds what an answer may hold.
	maxAnswer = 16 << 20
)

// Target says which console is asked, and as whom.
type Target struct {
	Namespace string
	// Service is the name of the release's Service.
	Service string
	// BasePath is portal.basePath.
	BasePath string
	// Account is the ServiceAccount in that namespace whose token is shown.
	Account string
}

// Validate returns what is missing.
func (t Target) Validate() error {
	switch {
	case t.Namespace == "":
		return errors.New("name one namespace with -n: there is one console in each")
	case t.Account == "":
		return errors.New("name a ServiceAccount with --service-account: the console is asked with its token and its rights, and you need the right to create serviceaccounts/token")
	case t.Service == "":
		return errors.New("--service: empty")
	case !strings.HasPrefix(t.BasePath, "/") || strings.ContainsAny(t.BasePath, "?#%"):
		return fmt.Errorf("--base-path: not like /services/elastichub/: %.200q", t.BasePath)
	}
	return nil
}

// Get reads one page of the API, such as usage.
func Get(ctx context.Context, config *rest.Config, t Target, page string, query url.Values) ([]byte, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	api, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("the cluster cannot be asked: %w", err)
	}
	pod, port, err := t.find(ctx, api)
	if err != nil {
		return nil, err
	}
	token, err := t.token(ctx, api)
	if err != nil {
		return nil, err
	}
	address, closed, err := Forward(ctx, config, t.Namespace, pod, port)
	if err != nil {
		return nil, fmt.Errorf("no port-forward to the Pod %s, for which you need the right to create pods/portforward: %w", pod, err)
	}
	defer closed()
	return t.ask(ctx, address, token, page, query)
}

// find is a Pod of the service that is ready, and its port.
func (t Target) find(ctx context.Context, api corev1client.CoreV1Interface) (pod string, port int32, err error) {
	service, err := api.Services(t.Namespace).Get(ctx, t.Service, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", 0, fmt.Errorf("there is no Service %q in the namespace %s: name that of the release with --service", t.Service, t.Namespace)
	}
	if err != nil {
		return "", 0, t.sentence(err, "get services")
	}
	if len(service.Spec.Selector) == 0 {
		return "", 0, fmt.Errorf("the Service %s selects no Pods: name that of the release with --service", t.Service)
	}
	pods, err := api.Pods(t.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String()})
	if err != nil {
		return "", 0, t.sentence(err, "list pods")
	}
	for i := range pods.Items {
		if isReady(&pods.Items[i]) {
			if port := portOf(service, &pods.Items[i]); port > 0 {
				return pods.Items[i].Name, port, nil
			}
		}
	}
	return "", 0, fmt.Errorf("no Pod of the Service %s in the namespace %s is ready", t.Service, t.Namespace)
}

func isReady(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// portOf is the Pod's port to which the service's leads; 0: there is none.
func portOf(service *corev1.Service, pod *corev1.Pod) int32 {
	for _, p := range service.Spec.Ports {
		switch {
		case p.Name != portName:
		case p.TargetPort.Type == intstr.Int:
			return p.TargetPort.IntVal
		default:
			for _, c := range pod.Spec.Containers {
				for _, port := range c.Ports {
					if port.Name == p.TargetPort.StrVal {
						return port.ContainerPort
					}
				}
			}
		}
	}
	return 0
}

// token is one of the account for the console alone.
func (t Target) token(ctx context.Context, api corev1client.CoreV1Interface) (string, error) {
	granted, err := api.ServiceAccounts(t.Namespace).CreateToken(ctx, t.Account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: ptr.To[int64](tokenSeconds)},
	}, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("there is no ServiceAccount %q in the namespace %s: make one with the rights that docs/kubectl.md names, or name another with --service-account", t.Account, t.Namespace)
	}
	if err != nil {
		return "", t.sentence(err, "create serviceaccounts/token")
	}
	return granted.Status.Token, nil
}

func (t Target) sentence(err error, what string) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("You may not %s in the namespace %s: ask for a Role with that right", what, t.Namespace) //nolint:staticcheck // a sentence, as the plugin's others
	case apierrors.IsUnauthorized(err):
		return errors.New("the cluster does not know you: sign in again, or name another --context")
	}
	return fmt.Errorf("the cluster cannot be asked: %w", err)
}

// client goes where it is told, by no proxy and no redirect.
func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask reads a page of the API at an address.
func (t Target) ask(ctx context.Context, address, token, page string, query url.Values) ([]byte, error) {
	target := url.URL{Scheme: "http", Host: address, Path: path.Join(t.BasePath, "api/v1", page), RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "application/json")
	answer, err := client().Do(request)
	if err != nil {
		return nil, fmt.Errorf("the console does not answer: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the console's answer broke off: %w", err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the console's answer has more than %d MiB", maxAnswer>>20)
	case answer.StatusCode == http.StatusOK && isJSON(answer.Header):
		return body, nil
	}
	return nil, t.refusal(answer, body)
}

func isJSON(h http.Header) bool { return strings.HasPrefix(h.Get("Content-Type"), "application/json") }

// refusal says what the console's problem is.
func (t Target) refusal(answer *http.Response, body []byte) error {
	var problem struct{ Type, Title, Detail, Instance string }
	if answer.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(body, &problem) != nil {
		return fmt.Errorf("there is no console at %s (it answers %d): is portal.enabled set, and portal.basePath this? Name another with --base-path", t.BasePath, answer.StatusCode)
	}
	switch strings.TrimPrefix(problem.Type, "urn:elastichub:problem:") {
	case "unauthenticated":
		return errors.New("the console takes no tokens of Kubernetes: portal.kubernetesTokens is off there, or its release is older")
	case "no-right":
		return fmt.Errorf("the ServiceAccount %s lacks a right: %s", t.Account, strings.TrimSuffix(problem.Detail, "."))
	}
	return fmt.Errorf("the console refuses it: %s (%s)", strings.TrimSuffix(problem.Detail, "."), problem.Instance)
}
