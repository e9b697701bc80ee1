package renew_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/rotation"
	"github.com/elastichub/elastichub/rotation/renew"
	"github.com/elastichub/elastichub/test/apiserver"
)

// pod is a reader: a Pod of a real API server, whose mounted files the test brings up to date
// as a kubelet does, and a process that reads them and says so.
type pod struct {
	name  string
	dir   string
	live  *rotation.Live
	marks *httptest.Server
	deaf  bool // its kubelet does nothing
	old   bool // of a release that says nothing

	nudged string
	step   int
}

type site struct {
	t         *testing.T
	api       kubernetes.Interface
	namespace string
	pods      []*pod
	// lag is by how much each kubelet is later than the one before.
	lag time.Duration
}

const release = "elastichub"

func labels(component string) map[string]string {
	return map[string]string{"app.kubernetes.io/name": "elastichub", "app.kubernetes.io/component": component, "app.kubernetes.io/instance": release}
}

func newSite(t *testing.T, api kubernetes.Interface, lag time.Duration, readers ...string) *site {
	t.Helper()
	made, err := api.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "rotate-"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	s := &site{t: t, api: api, namespace: made.Name, lag: lag}
	making := renew.Making{API: api, Namespace: s.namespace, Release: release, Out: &bytes.Buffer{}}
	require.NoError(t, making.Run(t.Context(), []string{"hub-token=the-token", "notebook-metrics=elastichub-notebook-metrics"}))
	keys := func(keys ...string) (items []corev1.KeyToPath) {
		for _, key := range keys {
			items = append(items, corev1.KeyToPath{Key: key, Path: "hub/" + key})
		}
		return items
	}
	secret := func(items []corev1.KeyToPath) corev1.VolumeProjection {
		return corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "the-token"}, Items: items}}
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: release, Labels: labels("service")}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels("service")}
	d.Spec.Template.Labels = labels("service")
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "elastichub", Image: "elastichub"}}
	d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{secret(keys("token")), secret(keys("next", "former", "former-until", "mark"))},
	}}}}
	_, err = api.AppsV1().Deployments(s.namespace).Create(t.Context(), d, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = api.CoreV1().ConfigMaps(s.namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: release}, Data: map[string]string{"config.yaml": "log: {}\n"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	for _, name := range readers {
		s.reader(name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.kubelets(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

func (s *site) reader(name string) {
	p := &pod{name: name, dir: s.t.TempDir()}
	s.pods = append(s.pods, p)
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels("service")}}
	object.Spec.Containers = []corev1.Container{{Name: "elastichub", Image: "elastichub"}}
	made, err := s.api.CoreV1().Pods(s.namespace).Create(s.t.Context(), object, metav1.CreateOptions{})
	require.NoError(s.t, err)
	made.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	_, err = s.api.CoreV1().Pods(s.namespace).UpdateStatus(s.t.Context(), made, metav1.UpdateOptions{})
	require.NoError(s.t, err)
	p.mount(s.secret().Data)
	p.live, err = rotation.Open(filepath.Join(p.dir, "token"), nil, slog.New(slog.DiscardHandler), time.Now)
	require.NoError(s.t, err)
	p.marks = httptest.NewServer(rotation.Marks(map[string]func() string{"hub-token": func() string { return p.live.Values().Mark }}))
	s.t.Cleanup(p.marks.Close)
}

func (s *site) secret() *corev1.Secret {
	s.t.Helper()
	secret, err := s.api.CoreV1().Secrets(s.namespace).Get(s.t.Context(), "the-token", metav1.GetOptions{})
	require.NoError(s.t, err)
	return secret
}

// mount exchanges the files of a volume together.
func (p *pod) mount(data map[string][]byte) {
	p.step++
	next := fmt.Sprintf("..step-%d", p.step)
	_ = os.Mkdir(filepath.Join(p.dir, next), 0o700)
	for key, value := range data {
		_ = os.WriteFile(filepath.Join(p.dir, next, key), value, 0o600)
	}
	_ = os.Symlink(next, filepath.Join(p.dir, "..new"))
	_ = os.Rename(filepath.Join(p.dir, "..new"), filepath.Join(p.dir, "..data"))
	_ = os.Symlink("..data/token", filepath.Join(p.dir, "token"))
}

// kubelets bring the files of Pods up to date that were nudged, each some time after.
func (s *site) kubelets(ctx context.Context) {
	for ctx.Err() == nil {
		for i, p := range s.pods {
			object, err := s.api.CoreV1().Pods(s.namespace).Get(ctx, p.name, metav1.GetOptions{})
			if err != nil || p.deaf || object.Annotations[v1alpha1.AnnotationSecretsRead] == p.nudged {
				continue
			}
			p.nudged = object.Annotations[v1alpha1.AnnotationSecretsRead]
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(i) * s.lag):
			}
			if secret, err := s.api.CoreV1().Secrets(s.namespace).Get(ctx, "the-token", metav1.GetOptions{}); err == nil {
				p.mount(secret.Data)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *site) ask(_ context.Context, reader renew.Reader) (map[string]string, error) {
	for _, p := range s.pods {
		if p.name != reader.Pod {
			continue
		}
		if p.old {
			return nil, renew.ErrOld
		}
		answer, err := http.Get(p.marks.URL + rotation.Path)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		var seen map[string]string
		return seen, json.NewDecoder(answer.Body).Decode(&seen)
	}
	return nil, errors.New("no such Pod")
}

// rotate runs one renewal.
func (s *site) rotate(name string, adjust func(*renew.Renewal)) error {
	s.t.Helper()
	secret, err := renew.Find(name)
	require.NoError(s.t, err)
	r := renew.Renewal{
		Site: renew.Site{API: s.api, Namespace: s.namespace, Release: release}, Secret: secret, FormerFor: secret.FormerFor,
		Patience: time.Minute, Ask: s.ask, Out: io.Discard, Now: time.Now,
	}
	if adjust != nil {
		adjust(&r)
	}
	return r.Run(s.t.Context())
}

func TestRotation(t *testing.T) {
	t.Parallel()
	config, _ := apiserver.Start(t)
	api, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	value := func(s *site, key string) string { return string(s.secret().Data[key]) }

	t.Run("nobody is shown a value that he does not know", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, api, rotation.Interval+200*time.Millisecond, "a", "b", "c")
		first := value(s, "token")
		ofHelm := s.secret() // as a chart of 0.1.0 has made it
		ofHelm.Labels["helm.sh/chart"] = "elastichub-0.1.0"
		_, err := api.CoreV1().Secrets(s.namespace).Update(t.Context(), ofHelm, metav1.UpdateOptions{})
		require.NoError(t, err)
		// One who shows what any of them has for the current one is let in by every other.
		stop, shown := make(chan struct{}), map[string]bool{}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				for _, from := range s.pods {
					token := from.live.Values().Current
					shown[token] = true
					for _, at := range s.pods {
						if !assert.Contains(t, at.live.Counting(), token, "%s does not know what %s has", at.name, from.name) {
							return
						}
					}
				}
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
		var said bytes.Buffer
		err = s.rotate("hub-token", func(r *renew.Renewal) { r.Out = &said })
		require.NoError(t, err)
		close(stop)
		wg.Wait()
		assert.Contains(t, said.String(), "run helm upgrade once after this")
		assert.NotContains(t, s.secret().Labels, "helm.sh/chart", "the chart leaves it to us from now on")
		assert.Len(t, shown, 2)
		assert.NotEqual(t, first, value(s, "token"))
		assert.Equal(t, first, value(s, "former"))
		assert.Empty(t, value(s, "next"))
		until, err := time.Parse(time.RFC3339, value(s, "former-until"))
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now().Add(24*time.Hour), until, time.Minute)

		err = s.rotate("hub-token", nil)
		require.ErrorContains(t, err, "counts until", "it would be lost before its time")
		second := value(s, "token")
		err = s.rotate("hub-token", func(r *renew.Renewal) { r.CutOff = true })
		require.NoError(t, err)
		for _, p := range s.pods {
			assert.Equal(t, []string{value(s, "token")}, p.live.Counting(), p.name)
		}
		assert.NotContains(t, []string{first, second}, value(s, "token"))
	})

	t.Run("said before, and nothing changed", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, api, 200*time.Millisecond, "a", "b")
		before := s.secret()
		var out bytes.Buffer
		err := s.rotate("hub-token", func(r *renew.Renewal) { r.DryRun, r.CutOff, r.Out = true, true, &out })
		require.NoError(t, err)
		assert.Contains(t, out.String(), "Nothing is changed.")
		assert.Contains(t, out.String(), "2 processes")
		assert.Contains(t, out.String(), "nobody's server starts or stops")
		assert.Equal(t, before.ResourceVersion, s.secret().ResourceVersion)
		assert.NotContains(t, out.String(), string(before.Data["token"]))
	})

	t.Run("readers that do not read", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, api, 200*time.Millisecond, "a", "b")
		first := value(s, "token")
		s.pods[1].old = true
		hasty := func(r *renew.Renewal) { r.Patience = 4 * time.Second }
		err := s.rotate("hub-token", hasty)
		require.ErrorIs(t, err, renew.ErrReaders)
		require.ErrorContains(t, err, "/b (it is of a former release")
		assert.NotContains(t, err.Error(), "/a")
		assert.Equal(t, first, value(s, "token"), "what an old process knows stays in its place")
		assert.Empty(t, value(s, "former"))
		next := value(s, "next")
		require.NotEmpty(t, next)
		s.pods[1].old = false
		err = s.rotate("hub-token", nil)
		require.NoError(t, err)
		assert.Equal(t, next, value(s, "token"), "it goes on where it was broken off")
		assert.Equal(t, first, value(s, "former"))
	})

	t.Run("a Secret that is another's", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, api, 200*time.Millisecond, "a")
		secret := s.secret()
		secret.Labels = nil
		_, err := api.CoreV1().Secrets(s.namespace).Update(t.Context(), secret, metav1.UpdateOptions{})
		require.NoError(t, err)
		err = s.rotate("hub-token", nil)
		require.ErrorAs(t, err, new(*renew.OwnersError))
		assert.ErrorContains(t, err, "write the new value as the key next")
		err = s.rotate("portal", nil)
		assert.ErrorContains(t, err, "has no portal")
		err = s.rotate("hub-token", func(r *renew.Renewal) { r.Site.Release = "other" })
		assert.ErrorContains(t, err, "no release other")
	})

	t.Run("the token of metrics with its hash", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, api, 200*time.Millisecond, "a")
		read := func() map[string][]byte {
			secret, err := api.CoreV1().Secrets(s.namespace).Get(t.Context(), "elastichub-notebook-metrics", metav1.GetOptions{})
			require.NoError(t, err)
			return secret.Data
		}
		before := read()
		err := s.rotate("notebook-metrics", nil)
		require.NoError(t, err)
		after := read()
		assert.NotEqual(t, before["token"], after["token"])
		assert.NotEqual(t, before["sha256"], after["sha256"])
		assert.Len(t, after["sha256"], 64)
	})

	t.Run("made once", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, api, 0)
		before := s.secret()
		var out bytes.Buffer
		making := renew.Making{API: api, Namespace: s.namespace, Release: release, Out: &out}
		require.NoError(t, making.Run(t.Context(), []string{"hub-token=the-token", "signing=s", "keep=k", "portal=p"}))
		assert.Equal(t, before.ResourceVersion, s.secret().ResourceVersion)
		assert.Equal(t, "the-token is there\ns is made\nk is made\np is made\n", out.String())
		for _, wrong := range []string{"ldap=x", "signing", "signing=", "x=y"} {
			assert.Error(t, making.Run(t.Context(), []string{wrong}), wrong)
		}
	})
}

func TestEverySecretHasASentence(t *testing.T) {
	t.Parallel()
	for _, s := range renew.All {
		assert.NotEmpty(t, s.What+s.Readers, s.Name)
		assert.NotEqual(t, s.Cost == "", s.Owner == "", "%s: either we make it, and a cut-off costs something, or its owner does", s.Name)
	}
	_, err := renew.Find("x")
	require.ErrorContains(t, err, "--list")
	assert.True(t, strings.HasPrefix(string(renew.All[0].Name), "signing"))
}
