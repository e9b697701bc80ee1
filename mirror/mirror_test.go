package mirror

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// release is a small one as files: kernel for one platform and service for two, with a layer that all share.
func release(t *testing.T) map[string][]byte {
	t.Helper()
	directory := t.TempDir()
	to, err := layout.Write(filepath.Join(directory, "images"), empty.Index)
	require.NoError(t, err)
	base, err := random.Layer(5000, types.OCILayer)
	require.NoError(t, err)
	image := func(architecture string) v1.Image {
		own, err := random.Layer(9000, types.OCILayer)
		require.NoError(t, err)
		image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), base, own)
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", architecture
		image, err = mutate.ConfigFile(image, config)
		require.NoError(t, err)
		return image
	}
	var both v1.ImageIndex = empty.Index
	for _, architecture := range []string{"amd64", "arm64"} {
		both = mutate.AppendManifests(both, mutate.IndexAddendum{
			Add: image(architecture), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	called := func(name string) layout.Option {
		return layout.WithAnnotations(map[string]string{refName: "elastichub/" + name + ":1.2.3"})
	}
	require.NoError(t, to.AppendIndex(both, called("service")))
	require.NoError(t, to.AppendImage(image("amd64"), called("kernel")))

	files := map[string][]byte{"elastichub-1.2.3.tgz": []byte("a chart")}
	require.NoError(t, filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(directory, path)
		if err == nil {
			files[filepath.ToSlash(name)], err = os.ReadFile(path)
		}
		return err
	}))
	return files
}

// summed adds SHA256SUMS.
func summed(files map[string][]byte) map[string][]byte {
	files = maps.Clone(files)
	delete(files, sums)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(files[name]), name)
	}
	files[sums] = []byte(text.String())
	return files
}

// packed is an archive of files.
func packed(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var archive bytes.Buffer
	to := tar.NewWriter(&archive)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		require.NoError(t, to.WriteHeader(&tar.Header{Name: "elastichub-1.2.3/" + name, Mode: 0o644, Size: int64(len(files[name]))}))
		_, err := to.Write(files[name])
		require.NoError(t, err)
	}
	require.NoError(t, to.Close())
	return archive.Bytes()
}

func opened(t *testing.T, archive []byte) (*Archive, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "elastichub-1.2.3.tar")
	require.NoError(t, os.WriteFile(file, archive, 0o600))
	a, err := Open(file)
	if err == nil {
		t.Cleanup(func() { assert.NoError(t, a.Close()) })
	}
	return a, err
}

// server is a registry that remembers what it was asked.
type server struct {
	*httptest.Server
	mutex sync.Mutex
	asked []string
	// most is how many writes it takes before it fails, if it is not negative.
	most int
}

func serve(t *testing.T, start func(*httptest.Server)) *server {
	t.Helper()
	s := &server{most: -1}
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		s.asked = append(s.asked, r.Method+" "+r.URL.Path)
		stop := false
		if r.Method == http.MethodPut && s.most >= 0 {
			stop = s.most == 0
			s.most = max(0, s.most-1)
		}
		s.mutex.Unlock()
		if stop {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		images.ServeHTTP(w, r)
	}))
	start(s.Server)
	t.Cleanup(s.Close)
	return s
}

func plain(s *httptest.Server) { s.Start() }

func (s *server) host() string { return s.Listener.Addr().String() }

// count is how often it was asked so since the last time.
func (s *server) count(methods ...string) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	found := 0
	for _, asked := range s.asked {
		method, _, _ := strings.Cut(asked, " ")
		if slices.Contains(methods, method) {
			found++
		}
	}
	s.asked = nil
	return found
}

var writes = []string{http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete}

// TestPush: what is pulled is what is in the archive, to the byte; what is there is not sent again.
func TestPush(t *testing.T) {
	a, err := opened(t, packed(t, summed(release(t))))
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", a.Version)
	s := serve(t, plain)
	target := Target{Registry: s.host() + "/mirrored/elastichub"}

	var out bytes.Buffer
	require.NoError(t, a.Push(t.Context(), target, true, &out))
	assert.Equal(t, 2, strings.Count(out.String(), ": would be pushed\n"), out.String())
	assert.Zero(t, s.count(writes...), "a dry run writes nothing")

	out.Reset()
	require.NoError(t, a.Push(t.Context(), target, false, &out))
	assert.Contains(t, out.String(), "/mirrored/elastichub/service:1.2.3, linux/amd64 and linux/arm64, ")
	assert.Contains(t, out.String(), "/mirrored/elastichub/kernel:1.2.3: 100 % of ")
	assert.NotZero(t, s.count(writes...))
	for _, image := range a.Images {
		tag, err := name.NewTag(target.Registry + "/" + image.Name + ":1.2.3")
		require.NoError(t, err)
		found, err := remote.Get(tag)
		require.NoError(t, err)
		assert.Equal(t, image.Digest, found.Digest)
		if found.MediaType.IsIndex() {
			pulled, err := found.ImageIndex()
			require.NoError(t, err)
			require.NoError(t, validate.Index(pulled))
		} else {
			pulled, err := found.Image()
			require.NoError(t, err)
			require.NoError(t, validate.Image(pulled))
		}
	}

	out.Reset()
	s.count()
	require.NoError(t, a.Push(t.Context(), target, false, &out))
	assert.Equal(t, 2, strings.Count(out.String(), ": is there\n"), out.String())
	assert.Zero(t, s.count(append(writes, http.MethodGet)...)-s.pings(), "nothing but questions for digests")
}

// pings is how often a push asks whether a registry is one: once for each image.
func (s *server) pings() int { return 2 }

// TestAPushGoesOn: one that was broken off sends only what is not there, and one image is not taken for another.
func TestAPushGoesOn(t *testing.T) {
	files := summed(release(t))
	a, err := opened(t, packed(t, files))
	require.NoError(t, err)
	s := serve(t, plain)
	target := Target{Registry: s.host()}

	whole := serve(t, plain)
	require.NoError(t, a.Push(t.Context(), Target{Registry: whole.host()}, false, io.Discard))
	all := whole.count(http.MethodPut)

	s.most = 3
	err = a.Push(t.Context(), target, false, io.Discard)
	require.ErrorContains(t, err, "service:1.2.3")
	require.ErrorContains(t, err, "docker login "+s.host())
	s.most = -1
	s.count()
	require.NoError(t, a.Push(t.Context(), target, false, io.Discard))
	assert.Equal(t, all-3, s.count(http.MethodPut))

	other, err := opened(t, packed(t, summed(release(t))))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, other.Push(t.Context(), target, false, &out))
	assert.Contains(t, out.String(), "in place of "+a.Images[0].Digest.String())
}

// TestFaultsOfArchives: nothing of one that is not whole is believed, and the error names the file.
func TestFaultsOfArchives(t *testing.T) {
	t.Parallel()
	good := release(t)
	_, err := opened(t, packed(t, summed(good)))
	require.NoError(t, err)
	blob := func(part string) string {
		for name, text := range good {
			if strings.HasPrefix(name, layoutBlobs) && bytes.Contains(text, []byte(part)) {
				return name
			}
		}
		t.Fatal("no blob with ", part)
		return ""
	}
	config, list := blob(`"rootfs"`), blob(`"manifests"`)
	for fault, c := range map[string]struct {
		change func(files map[string][]byte)
		want   []string
	}{
		"a blob that is missing":        {func(f map[string][]byte) { delete(f, config) }, []string{"image ", config + " is missing"}},
		"an index that is missing":      {func(f map[string][]byte) { delete(f, list) }, []string{"image service", list + " is missing"}},
		"a blob that is another one":    {func(f map[string][]byte) { f[config] = []byte("{}") }, []string{config, "not", "of its name"}},
		"no layout":                     {func(f map[string][]byte) { delete(f, "images/index.json") }, []string{"images/index.json is missing"}},
		"no JSON":                       {func(f map[string][]byte) { f["images/index.json"] = []byte("{") }, []string{"images/index.json"}},
		"no images":                     {func(f map[string][]byte) { f["images/index.json"] = []byte("{}") }, []string{"images/index.json names no image"}},
		"an image of somebody else":     {replaced("elastichub/kernel:", "else/kernel:"), []string{`"else/kernel:1.2.3" is no name`}},
		"images of two releases":        {replaced("kernel:1.2.3", "kernel:1.2.4"), []string{"images of 1.2.3 and of 1.2.4"}},
		"an unknown sum":                {replaced(`"digest":"sha256:`, `"digest":"sha512:`), []string{"images/index.json"}},
		"text that is too long to read": {func(f map[string][]byte) { f["images/index.json"] = make([]byte, maxText+1) }, []string{"images/index.json has 4194305 bytes, more than 4194304"}},
	} {
		files := maps.Clone(good)
		c.change(files)
		_, err := opened(t, packed(t, summed(files)))
		for _, want := range append(c.want, "elastichub-1.2.3.tar") {
			assert.ErrorContains(t, err, want, fault)
		}
	}

	files := summed(good)
	files["elastichub-1.2.3.tgz"] = []byte("another chart")
	_, err = opened(t, packed(t, files))
	assert.ErrorContains(t, err, "elastichub-1.2.3.tgz is not what SHA256SUMS says")
	files = summed(good)
	files["more"] = nil
	_, err = opened(t, packed(t, files))
	assert.ErrorContains(t, err, "more is not listed in SHA256SUMS")
	_, err = opened(t, packed(t, good))
	assert.ErrorContains(t, err, "SHA256SUMS is missing")
	_, err = opened(t, append([]byte("no archive"), make([]byte, 2000)...))
	assert.ErrorContains(t, err, "after the beginning")
	_, err = Open(filepath.Join(t.TempDir(), "none.tar"))
	assert.ErrorIs(t, err, fs.ErrNotExist)

	// Wherever it is cut, it is not whole, and a file is named.
	whole := packed(t, summed(good))
	for cut := len(whole) - 1; cut >= 0; cut -= 397 {
		_, err := opened(t, whole[:cut])
		require.Error(t, err, cut)
		assert.Regexp(t, `images/|SHA256SUMS|\.tgz|the beginning`, strings.TrimPrefix(err.Error(), "elastichub-1.2.3.tar"), cut)
	}
}

const layoutBlobs = layoutDir + "blobs/"

func replaced(from, to string) func(map[string][]byte) {
	return func(files map[string][]byte) {
		files["images/index.json"] = bytes.ReplaceAll(bytes.ReplaceAll(files["images/index.json"], []byte(": "), []byte(":")), []byte(from), []byte(to))
	}
}

// TestWhoMayPush: credentials are those of the file, the certificate has to be of who is trusted, and none
// of both goes to anybody else.
func TestWhoMayPush(t *testing.T) {
	a, err := opened(t, packed(t, summed(release(t))))
	require.NoError(t, err)
	var anonymous int
	s := serve(t, func(s *httptest.Server) {
		images := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "alice" || password != "secret" {
				anonymous++
				w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			images.ServeHTTP(w, r)
		})
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
	})
	directory := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	ca := write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	entry := base64.StdEncoding.EncodeToString([]byte("alice:secret"))
	kept := write("auth.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, s.host(), entry))
	of := write("other.json", fmt.Sprintf(`{"auths": {"registry.example.org": {"auth": %q}}}`, entry))

	target := Target{Registry: s.host() + "/elastichub", CAFile: ca, AuthFile: kept}
	require.NoError(t, a.Push(t.Context(), target, false, io.Discard))
	target.AuthFile = of
	before := anonymous
	require.ErrorContains(t, a.Push(t.Context(), target, false, io.Discard), "Fix: docker login "+s.host())
	assert.Greater(t, anonymous, before)
	target.AuthFile = write("broken.json", `{"auths": {"registry": "`+entry)
	err = a.Push(t.Context(), target, false, io.Discard)
	require.ErrorContains(t, err, "broken.json has no credentials")
	assert.NotContains(t, err.Error(), entry)
	target.AuthFile, target.CAFile = kept, ""
	require.ErrorContains(t, a.Push(t.Context(), target, false, io.Discard), "certificate")

	// As podman and docker keep them.
	target.AuthFile, target.CAFile = "", ca
	t.Setenv("HOME", directory)
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(directory, "run"))
	t.Setenv("REGISTRY_AUTH_FILE", kept)
	require.NoError(t, a.Push(t.Context(), target, false, io.Discard))
	t.Setenv("REGISTRY_AUTH_FILE", "")
	t.Setenv("DOCKER_CONFIG", filepath.Join(directory, "docker"))
	require.Error(t, a.Push(t.Context(), target, false, io.Discard))
	require.NoError(t, os.Mkdir(filepath.Join(directory, "docker"), 0o700))
	require.NoError(t, os.Rename(kept, filepath.Join(directory, "docker", "config.json")))
	require.NoError(t, a.Push(t.Context(), target, false, io.Discard))
}

// TestNoPlaintext: what goes further than this machine has TLS, also to addresses of private networks.
func TestNoPlaintext(t *testing.T) {
	t.Parallel()
	passed := errors.New("passed")
	guard := closed{roundTripper(func(*http.Request) (*http.Response, error) { return nil, passed })}
	for url, want := range map[string]error{
		"http://10.0.0.7:5000/v2/":      errPlain,
		"http://registry.local/v2/":     errPlain,
		"http://localhost.example/v2/":  errPlain,
		"http://localhost:5000/v2/":     passed,
		"http://127.0.0.1:5000/v2/":     passed,
		"http://[::1]:5000/v2/":         passed,
		"https://10.0.0.7:5000/v2/":     passed,
		"https://registry.example/v2/":  passed,
		"http://169.254.169.254/latest": errPlain,
	} {
		_, err := guard.RoundTrip(httptest.NewRequest(http.MethodGet, url, nil))
		assert.ErrorIs(t, err, want, url)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNamesOfRegistries(t *testing.T) {
	t.Parallel()
	a := &Archive{Version: "1.2.3", Images: []Image{{Name: "service"}}}
	for _, wrong := range []string{"", "/", "elastichub", "https://registry.example.org", "registry.example.org/Upper", "registry.example.org/a:1"} {
		assert.ErrorContains(t, a.Push(t.Context(), Target{Registry: wrong}, true, io.Discard), "want HOST[:PORT][/PATH]", wrong)
	}
}
