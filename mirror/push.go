package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/elastichub/elastichub/outbound"
)

const (
	dialTime = 10 * time.Second
	// answerTime is how long a registry may take to answer when it has all of a request.
	answerTime = 2 * time.Minute
	idleTime   = 30 * time.Second
)

// Target is a registry, and who it is spoken to as.
type Target struct {
	// Registry is HOST[:PORT][/PATH], the image.registry of the charts.
	Registry string
	// CAFile says who signs its certificate; empty means whom the system trusts.
	CAFile string
	// AuthFile has credentials as docker and podman keep them; empty means where these keep theirs.
	AuthFile string
	// UserAgent names the program to the registry.
	UserAgent string
}

// Push sends the images that the registry has not, and tells out how far it is. What is there by
// its digest is not sent again: a push that was broken off goes on where it was. With dryRun
// nothing is written, and the registry is only asked.
func (a *Archive) Push(ctx context.Context, target Target, dryRun bool, out io.Writer) error {
	keys, err := keychain(target.AuthFile)
	if err != nil {
		return err
	}
	tags := make([]name.Tag, len(a.Images))
	for i, image := range a.Images {
		tags[i], err = name.NewTag(target.Registry+"/"+image.Name+":"+a.Version, name.StrictValidation)
		if strings.Contains(target.Registry, "://") {
			err = errors.New("it is no URL")
		}
		if err != nil {
			return fmt.Errorf("registry %q: want HOST[:PORT][/PATH]: %w", target.Registry, err)
		}
	}
	roots, err := outbound.Roots(target.CAFile)
	if err != nil {
		return err
	}
	connections := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   dialTime,
		ResponseHeaderTimeout: answerTime,
		IdleConnTimeout:       idleTime,
		ForceAttemptHTTP2:     true,
	}
	defer connections.CloseIdleConnections()
	options := []remote.Option{
		remote.WithContext(ctx),
		remote.WithTransport(closed{connections}),
		remote.WithAuthFromKeychain(keys),
		remote.WithUserAgent(target.UserAgent),
	}
	for i, image := range a.Images {
		if err := push(image, tags[i], dryRun, options, out); err != nil {
			return advised(fmt.Errorf("%s: %w", tags[i], err), tags[i].RegistryStr())
		}
	}
	return nil
}

func push(image Image, tag name.Tag, dryRun bool, options []remote.Option, out io.Writer) error {
	there, err := digestOf(tag, options)
	// Some registries do not tell of a repository that does not exist before something is pushed.
	if err != nil && (dryRun || !refused(err)) {
		return err
	}
	what := fmt.Sprintf("%s, %s, %s", tag, strings.Join(image.Platforms, " and "), size(image.Bytes))
	if there == image.Digest {
		fmt.Fprintf(out, "%s: is there\n", what)
		return nil
	}
	if there != (v1.Hash{}) {
		what += fmt.Sprintf(", in place of %s", there)
	}
	if dryRun {
		fmt.Fprintf(out, "%s: would be pushed\n", what)
		return nil
	}
	fmt.Fprintf(out, "%s: pushing\n", what)
	updates, told := make(chan v1.Update, 16), make(chan struct{})
	go func() {
		defer close(told)
		tell(updates, tag.String(), out)
	}()
	err = remote.Push(tag, image.content, append(options, remote.WithProgress(updates))...)
	<-told
	if err != nil {
		return err
	}
	if there, err = digestOf(tag, options); err != nil {
		return err
	}
	if there != image.Digest {
		return fmt.Errorf("the registry has %s and was sent %s", there, image.Digest)
	}
	return nil
}

// digestOf is what the registry has under the tag; nothing if it has none.
func digestOf(tag name.Tag, options []remote.Option) (v1.Hash, error) {
	found, err := remote.Head(tag, options...)
	var answered *transport.Error
	if errors.As(err, &answered) && answered.StatusCode == http.StatusNotFound {
		return v1.Hash{}, nil
	}
	if err != nil {
		return v1.Hash{}, err
	}
	return found.Digest, nil
}

// tell writes a line at each tenth of what is sent.
func tell(updates <-chan v1.Update, what string, out io.Writer) {
	tenths := int64(0)
	for update := range updates {
		if update.Error != nil || update.Total == 0 {
			continue
		}
		if now := update.Complete * 10 / update.Total; now > tenths {
			tenths = now
			fmt.Fprintf(out, "%s: %d %% of %s\n", what, tenths*10, size(update.Total))
		}
	}
}

func size(bytes int64) string {
	if bytes < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
}

func refused(err error) bool {
	var answered *transport.Error
	return errors.As(err, &answered) && (answered.StatusCode == http.StatusUnauthorized || answered.StatusCode == http.StatusForbidden)
}

// advised says what to do where a registry does not know us.
func advised(err error, host string) error {
	if refused(err) {
		return fmt.Errorf("%w. Fix: docker login %s, or podman login, as somebody who may push there", err, host)
	}
	return err
}

var errPlain = errors.New("a registry elsewhere than on this machine is not spoken to without TLS")

// closed lets nothing without TLS leave this machine: credentials are in it.
type closed struct{ next http.RoundTripper }

func (c closed) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !loopback(r.URL.Hostname()) {
		return nil, errPlain
	}
	return c.next.RoundTrip(r)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// keychain finds credentials.
func keychain(file string) (authn.Keychain, error) {
	if file == "" {
		return authn.DefaultKeychain, nil
	}
	return readAuthFile(file)
}
