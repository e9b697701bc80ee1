package images

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// registryTime is how long a registry may take to say what it has.
const registryTime = 10 * time.Second

// Push sends an image to a registry under the name to (HOST[:PORT]/PATH:TAG), unless it is
// there already, and returns its name with its digest there, which means this image
// whatever the tag means later. A registry of this machine's loopback is spoken to
// without TLS, all others with it, as whom `buildah login` or `docker login` has said.
func (s *Store) Push(ctx context.Context, tag, to string) (string, error) {
	target, err := parseTarget(to)
	if err != nil {
		return "", err
	}
	id, err := s.ID(ctx, tag)
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", fmt.Errorf("there is no image %s: build it with `localcluster build-image`", tag)
	}
	if digest := target.digestOf(ctx, id); digest != "" {
		s.progress.Say("%s is in the registry already", to)
		return target.name() + "@" + digest, nil
	}
	var digest string
	err = s.progress.Do("pushing "+to, func() error {
		dir, err := os.MkdirTemp(s.dir, ".push-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "digest")
		command := []string{"push", "--quiet", "--digestfile", file}
		if target.loopback() {
			// Nothing is carried far, so that packing hard would be all that takes time.
			command = append(command, "--tls-verify=false", "--compression-format", "gzip", "--compression-level", "1")
		}
		if _, err := s.buildah(ctx, append(command, tag, "docker://"+to)...); err != nil {
			return err
		}
		text, err := os.ReadFile(file)
		digest = strings.TrimSpace(string(text))
		return err
	})
	if err != nil {
		return "", err
	}
	return target.name() + "@" + digest, nil
}

// target is a name in a registry.
type target struct{ host, path, tag string }

func parseTarget(to string) (target, error) {
	host, rest, _ := strings.Cut(to, "/")
	path, tag, _ := strings.Cut(rest, ":")
	if host == "" || path == "" || tag == "" || strings.Contains(tag, "/") {
		return target{}, fmt.Errorf("%q: want HOST[:PORT]/PATH:TAG", to)
	}
	return target{host, path, tag}, nil
}

func (t target) name() string { return t.host + "/" + t.path }

// loopback reports whether the registry is one of this machine alone.
func (t target) loopback() bool {
	host, _, err := net.SplitHostPort(t.host)
	if err != nil {
		host = t.host
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// digestOf is the digest that the target's tag has, if it is of the image with the id,
// and empty if not, or if a stranger is not told.
func (t target) digestOf(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, registryTime)
	defer cancel()
	scheme := "https"
	if t.loopback() {
		scheme = "http"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s://%s/v2/%s/manifests/%s", scheme, t.host, t.path, t.tag), nil)
	if err != nil {
		return ""
	}
	request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	var manifest struct {
		Config descriptor `json:"config"`
	}
	if answer.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&manifest) != nil || manifest.Config.Digest != id {
		return ""
	}
	return answer.Header.Get("Docker-Content-Digest")
}
