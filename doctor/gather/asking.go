package gather

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/ldap"
	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/outbound"
)

// askTime bounds one question to a Hub or to a directory.
const askTime = 4 * time.Second

// nobody is a user whom no directory has: the answer tells that it can be asked.
const nobody = "elastichub-doctor-asks"

// asker asks whom the values name.
type asker struct {
	api       client.Reader
	namespace string
	values    map[string]any
	// inside: the process runs in the cluster.
	inside bool
	// files is a directory for what Secrets and ConfigMaps hold.
	files string
}

// hubs asks the Hub by each token of it that the values name.
func (a *asker) hubs(ctx context.Context) (all []doctor.Asked) {
	for _, path := range [][]string{{"hub"}, {"groups", "hub"}} {
		at := func(key string) string { return textAt(a.values, append(path[:len(path):len(path)], key)...) }
		address, secret := at("apiURL"), at("tokenSecret")
		if address == "" || secret == "" {
			continue
		}
		asked := doctor.Asked{Value: strings.Join(path, ".") + ".tokenSecret", URL: address}
		token, err := a.secret(ctx, secret, "token")
		if err != nil || token == "" {
			continue // a fault of its own
		}
		asked.Answer, asked.Detail = a.behind(ctx, address)
		if asked.Answer == "" {
			a.hub(ctx, &asked, at("caFile"), at("certSecret"), token)
		}
		all = append(all, asked)
	}
	return all
}

// wantedScopes are those that the service makes use of, by the value that names the token.
var wantedScopes = map[string][]string{
	"hub.tokenSecret":        {"read:users", "servers"},
	"groups.hub.tokenSecret": {"read:users:groups"},
}

func (a *asker) hub(ctx context.Context, asked *doctor.Asked, caFile, certSecret, token string) {
	say := func(answer doctor.Answer, err error) { asked.Answer, asked.Detail = answer, err.Error() }
	file, err := a.keep("hub-token", token)
	if err != nil {
		say(doctor.AnswerNotAsked, err)
		return
	}
	ca, err := a.authority(ctx, caFile)
	if err != nil {
		say(doctor.AnswerNotAsked, err)
		return
	}
	cert, key, err := a.certificate(ctx, certSecret)
	if err != nil {
		say(doctor.AnswerNotAsked, err)
		return
	}
	hub, err := hubclient.New(hubclient.Config{APIURL: asked.URL, TokenFile: file, CAFile: ca, CertFile: cert, KeyFile: key, Timeout: askTime})
	if err != nil {
		say(doctor.AnswerNone, err)
		return
	}
	defer hub.Close()
	owner, err := hub.Self(ctx)
	var status *outbound.StatusError
	switch {
	case err == nil:
		asked.Answer = doctor.AnswerGood
		for _, scope := range wantedScopes[asked.Value] {
			if !slices.Contains(owner.Scopes, scope) { // wider ones are given with all that they include
				asked.Lacks = append(asked.Lacks, scope)
			}
		}
	case errors.As(err, &status) && (status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden):
		say(doctor.AnswerRefused, err)
	default:
		say(doctor.AnswerNone, err)
	}
}

// directories asks each server of the directory for a user who is not there.
func (a *asker) directories(ctx context.Context) (all []doctor.Asked) {
	said, _ := at(a.values, "groups", "ldap").(map[string]any)
	config := ldap.DefaultConfig()
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{Result: &config, DecodeHook: mapstructure.ComposeDecodeHookFunc(duration)})
	if err == nil {
		err = decoder.Decode(said)
	}
	if err != nil {
		return nil // the schema says so
	}
	urls := config.URLs
	config.DialTimeout, config.BindTimeout, config.SearchTimeout = min(config.DialTimeout, askTime), min(config.BindTimeout, askTime), min(config.SearchTimeout, askTime)
	for _, address := range urls {
		asked := doctor.Asked{Value: "groups.ldap", URL: address}
		asked.Answer, asked.Detail = a.behind(ctx, address)
		if asked.Answer == "" {
			config.URLs = []string{address}
			asked.Answer, asked.Detail = a.directory(ctx, config)
		}
		all = append(all, asked)
	}
	return all
}

// duration is what a text such as 3s says.
func duration(from, to reflect.Type, value any) (any, error) {
	if text, ok := value.(string); ok && from.Kind() == reflect.String && to == reflect.TypeFor[time.Duration]() {
		return time.ParseDuration(text)
	}
	return value, nil
}

func (a *asker) directory(ctx context.Context, config ldap.Config) (doctor.Answer, string) {
	if name := textAt(a.values, "groups", "ldap", "bindPasswordSecret"); name != "" {
		password, err := a.secret(ctx, name, "password")
		if err != nil || password == "" {
			return doctor.AnswerNotAsked, "without its password"
		}
		if config.BindPasswordFile, err = a.keep("ldap-password", password); err != nil {
			return doctor.AnswerNotAsked, err.Error()
		}
	}
	var err error
	if config.CAFile, err = a.authority(ctx, config.CAFile); err != nil {
		return doctor.AnswerNotAsked, err.Error()
	}
	source, err := ldap.New(config, time.Now)
	if err != nil {
		return doctor.AnswerRefused, err.Error()
	}
	defer source.Close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err = source.Lookup(ctx, nobody)
	var dialing *net.OpError
	switch {
	case err == nil, errors.Is(err, groups.ErrUnknownUser):
		return doctor.AnswerGood, ""
	case errors.As(err, &dialing), errors.Is(err, context.DeadlineExceeded), !a.open(ctx, config.URLs[0]):
		return doctor.AnswerNone, err.Error()
	default:
		return doctor.AnswerRefused, err.Error()
	}
}

// open reports whether anybody listens at an address.
func (a *asker) open(ctx context.Context, address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme]
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// behind looks at who stands behind the address of a Service, which cannot be asked from
// outside of the cluster. It is empty where the address is another, or can be asked.
func (a *asker) behind(ctx context.Context, address string) (doctor.Answer, string) {
	u, err := url.Parse(address)
	if err != nil || a.inside {
		return "", ""
	}
	name, namespace, ok := a.serviceName(u.Hostname())
	if !ok {
		return "", ""
	}
	var service corev1.Service
	err = a.api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &service)
	if apierrors.IsNotFound(err) {
		if namespace == a.namespace && !strings.Contains(u.Hostname(), ".") {
			if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err == nil {
				return "", "" // a name of this network
			}
		}
		return doctor.AnswerNone, fmt.Sprintf("there is no Service %s in the namespace %s", name, namespace)
	}
	if err != nil {
		return doctor.AnswerNotAsked, err.Error()
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return doctor.AnswerNotAsked, "is a name within the cluster"
	}
	var slices discoveryv1.EndpointSliceList
	if err := a.api.List(ctx, &slices, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: name}); err != nil {
		return doctor.AnswerNotAsked, err.Error()
	}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				return doctor.AnswerNotAsked, "answers within the cluster only; there is a Pod behind it"
			}
		}
	}
	return doctor.AnswerNone, fmt.Sprintf("no ready Pod is behind the Service %s", name)
}

// serviceName reads NAME, NAME.NAMESPACE.svc and NAME.NAMESPACE.svc.cluster.local.
func (a *asker) serviceName(host string) (name, namespace string, ok bool) {
	if net.ParseIP(host) != nil || host == "localhost" || host == "" {
		return "", "", false
	}
	parts := strings.Split(host, ".")
	switch {
	case len(parts) == 1:
		return host, a.namespace, true
	case len(parts) >= 3 && parts[2] == "svc":
		return parts[0], parts[1], true
	default:
		return "", "", false
	}
}

// secret is what is below a key of a Secret, without the white space around it; empty
// if it is not there.
func (a *asker) secret(ctx context.Context, name, key string) (string, error) {
	var s corev1.Secret
	if err := a.api.Get(ctx, types.NamespacedName{Namespace: a.namespace, Name: name}, &s); err != nil {
		return "", err
	}
	return strings.TrimSpace(string(s.Data[key])), nil
}

// authority is the file of the certificates that a caFile of the service names: that of
// groups.caConfigMap, if it is one of that.
func (a *asker) authority(ctx context.Context, caFile string) (string, error) {
	name := textAt(a.values, "groups", "caConfigMap")
	if caFile == "" || a.inside {
		return caFile, nil
	}
	if name == "" {
		return "", fmt.Errorf("its caFile %s is a file of the service's Pod", caFile)
	}
	var all corev1.ConfigMap
	if err := a.api.Get(ctx, types.NamespacedName{Namespace: a.namespace, Name: name}, &all); err != nil {
		return "", fmt.Errorf("groups.caConfigMap: %w", err)
	}
	return a.keep("ca.crt", all.Data["ca.crt"])
}

// certificate is the files of what a Hub with internal_ssl is shown; none if the values name none.
func (a *asker) certificate(ctx context.Context, secret string) (cert, key string, err error) {
	if secret == "" {
		return "", "", nil
	}
	for _, file := range []struct {
		key  string
		into *string
	}{{"tls.crt", &cert}, {"tls.key", &key}} {
		content, err := a.secret(ctx, secret, file.key)
		if err != nil {
			return "", "", fmt.Errorf("its certSecret: %w", err)
		}
		if *file.into, err = a.keep(file.key, content+"\n"); err != nil {
			return "", "", err
		}
	}
	return cert, key, nil
}

// keep writes what was read to a file that nobody else may read.
func (a *asker) keep(name, content string) (string, error) {
	file, err := os.CreateTemp(a.files, filepath.Base(name))
	if err != nil {
		return "", err
	}
	defer file.Close()
	_, err = file.WriteString(content)
	return file.Name(), err
}
