package homes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/orphans"
	"github.com/elastichub/elastichub/test/apiserver"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	made = noon.Add(-90 * 24 * time.Hour)
)

// listing is a Hub and a directory that say what they are told to say.
type listing struct {
	people []orphans.Person
	knows  map[string]bool
	fault  error
}

func (l *listing) People(context.Context) ([]orphans.Person, error) { return l.people, l.fault }

func (l *listing) Knows(_ context.Context, user string) (bool, error) {
	return l.knows[user], l.fault
}

// homeOf is the claim of the n-th user, whom the Hub made n hours after the others.
func homeOf(n int, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	name := fmt.Sprintf("user-%02d", n)
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: "claim-" + name, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy},
		Annotations: map[string]string{
			v1alpha1.LabelHubUsername: name, v1alpha1.AnnotationClaimTemplate: "claim-{username}",
			v1alpha1.AnnotationHubUser: spawner.HubUser{ID: int64(n), Created: madeAt(n)}.String(),
		},
	}}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	for _, f := range change {
		f(claim)
	}
	return claim
}

func madeAt(n int) int64 { return made.Add(time.Duration(n) * time.Hour).Unix() }

func annotated(key, value string) func(*corev1.PersistentVolumeClaim) {
	return func(claim *corev1.PersistentVolumeClaim) { claim.Annotations[key] = value }
}

// people are users that the Hub lists under their names.
func people(numbers ...int) []orphans.Person {
	all := []orphans.Person{}
	for _, n := range numbers {
		all = append(all, orphans.Person{Name: fmt.Sprintf("user-%02d", n), Created: madeAt(n)})
	}
	return all
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		claim   *corev1.PersistentVolumeClaim
		answers Answers
		want    Standing
		reason  Reason
	}{
		"the Hub knows them":           {homeOf(1), Answers{People: people(1, 2)}, Present, ""},
		"nobody is asked":              {homeOf(1), Answers{}, Unknown, ""},
		"the Hub does not":             {homeOf(1), Answers{People: people(2)}, Left, HubUserGone},
		"nor does it know anybody":     {homeOf(1), Answers{People: people()}, Left, HubUserGone},
		"a newcomer has the name":      {homeOf(1), Answers{People: []orphans.Person{{Name: "user-01", Created: madeAt(9)}}}, Left, HubUserGone},
		"renamed":                      {homeOf(1), Answers{People: []orphans.Person{{Name: "other", Created: madeAt(1)}}}, Present, ""},
		"renamed, perhaps":             {homeOf(1), Answers{People: []orphans.Person{{Name: "a", Created: madeAt(1)}, {Name: "b", Created: madeAt(1)}}}, Unclear, ""},
		"made with who has a home":     {homeOf(1), Answers{People: []orphans.Person{{Name: "user-50", Created: madeAt(1)}}}, Left, HubUserGone},
		"the directory knows them":     {homeOf(1), Answers{Directory: map[string]bool{"user-01": true}}, Present, ""},
		"the directory does not":       {homeOf(1), Answers{Directory: map[string]bool{"user-01": false}}, Left, DirectoryUserGone},
		"the Hub does, it does not":    {homeOf(1), Answers{People: people(1), Directory: map[string]bool{"user-01": false}}, Left, DirectoryUserGone},
		"it knows the new name":        {homeOf(1), Answers{People: []orphans.Person{{Name: "new", Created: madeAt(1)}}, Directory: map[string]bool{"new": true}}, Present, ""},
		"no number, and the name is":   {homeOf(1, annotated(v1alpha1.AnnotationHubUser, "")), Answers{People: people(1)}, Present, ""},
		"no number, and the name not":  {homeOf(1, annotated(v1alpha1.AnnotationHubUser, "")), Answers{People: people(2)}, Left, HubUserGone},
		"handed over":                  {homeOf(1, annotated(v1alpha1.AnnotationAdopt, "ann")), Answers{People: people(2)}, Unknown, ""},
		"a number that cannot be read": {homeOf(1, annotated(v1alpha1.AnnotationHubUser, "one")), Answers{People: people(2)}, Unknown, ""},
		"of no Hub": {homeOf(1, func(c *corev1.PersistentVolumeClaim) { delete(c.Annotations, v1alpha1.AnnotationClaimTemplate) }),
			Answers{People: people(2), Directory: map[string]bool{"user-01": false}}, Unknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := homeOf(50, annotated(v1alpha1.AnnotationHubUser, spawner.HubUser{ID: 50, Created: madeAt(1)}.String()))
			found := []Home{{Claim: row.claim}, {Claim: other}}
			judge(found, row.answers)
			assert.Equal(t, row.want, found[0].Standing)
			assert.Equal(t, row.reason, found[0].Reason)
			assert.Equal(t, row.want == Left || row.want == Unclear, found[0].Message != "")
			if row.want == Left && (row.answers.People == nil || row.claim.Annotations[v1alpha1.AnnotationHubUser] == "") {
				assert.Contains(t, found[0].Stays(), "it cannot be told whether its user was renamed")
			} else if row.want == Left {
				assert.Empty(t, found[0].Stays())
			}
		})
	}
}

func TestConfigOfHomesIsBounded(t *testing.T) {
	t.Parallel()
	require.NoError(t, Config{Mode: Remove, Grace: leastGrace, MostPercent: 100}.Validate())
	err := Config{Mode: "zip", Grace: time.Hour, MostPercent: 0}.Validate()
	for _, want := range []string{`mode: "zip" is none of off, report, remove, archive`, "grace: 1h0m0s is less than 24h0m0s", "mostPercent: 0 is not between 1 and 100"} {
		assert.ErrorContains(t, err, want)
	}
}

// scene is a leader before a real API server with homes of thirty people, and the Hub and the directory that it asks.
type scene struct {
	*testing.T
	api  client.Client
	w    *watch
	says *listing
	told *events.FakeRecorder
}

func numbers(from, to int) []int {
	var all []int
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}

func newScene(t *testing.T) *scene {
	_, api := apiserver.Start(t)
	s := &scene{T: t, api: api, says: &listing{people: people(numbers(1, 30)...), knows: map[string]bool{}}, told: events.NewFakeRecorder(100)}
	for n := 1; n <= 30; n++ {
		require.NoError(t, api.Create(t.Context(), homeOf(n)))
		s.says.knows[fmt.Sprintf("user-%02d", n)] = true
	}
	met, err := newMetrics(prometheus.NewRegistry())
	require.NoError(t, err)
	s.w = &watch{
		cfg: Config{Namespace: "default", Mode: Remove, Grace: 30 * 24 * time.Hour, MostPercent: 10}, client: api, live: api,
		sources: Sources{Hub: s.says, Directory: s.says}, recorder: health.RecorderTo(s.told, api.Scheme()), met: met, now: func() time.Time { return noon },
	}
	return s
}

// pass is one, so many days after noon.
func (s *scene) pass(days int) error {
	s.Helper()
	s.w.now = func() time.Time { return noon.Add(time.Duration(days) * 24 * time.Hour) }
	return s.w.pass(s.Context())
}

func (s *scene) claim(n int) *corev1.PersistentVolumeClaim {
	s.Helper()
	claim := homeOf(n)
	require.NoError(s, s.api.Get(s.Context(), client.ObjectKeyFromObject(claim), claim))
	return claim
}

// noted are those whose users are noted as gone, going those that are deleted: what protects claims
// has a controller, and there is none.
func (s *scene) noted() (noted, going []string) {
	s.Helper()
	var all corev1.PersistentVolumeClaimList
	require.NoError(s, s.api.List(s.Context(), &all, client.InNamespace("default")))
	for _, claim := range all.Items {
		switch name := strings.TrimPrefix(claim.Name, "claim-user-"); {
		case claim.DeletionTimestamp != nil:
			going = append(going, name)
		case claim.Annotations[v1alpha1.AnnotationUserGone] != "":
			noted = append(noted, name)
		}
	}
	return noted, going
}

func (s *scene) events() string {
	var all []string
	for len(s.told.Events) > 0 {
		all = append(all, <-s.told.Events)
	}
	return strings.Join(all, "\n")
}

// TestHomesOfPeopleWhoLeft: noted, acquitted, kept, and removed when the grace is over; nothing
// follows from an outage, an empty answer, or many who vanish at once.
func TestHomesOfPeopleWhoLeft(t *testing.T) {
	s := newScene(t)
	require.NoError(t, s.pass(0))
	noted, going := s.noted()
	assert.Empty(t, noted)
	assert.Empty(t, going)

	// The Hub forgets one, the directory another.
	s.says.people = slices.DeleteFunc(people(numbers(1, 30)...), func(p orphans.Person) bool { return p.Name == "user-01" })
	s.says.knows["user-02"] = false
	require.NoError(t, s.pass(1))
	noted, _ = s.noted()
	assert.Equal(t, []string{"01", "02"}, noted)
	told := s.events()
	assert.Contains(t, told, "HubUserGone The Hub does not know user-01 any more, whose home this is. It is removed after 2026-04-02T12:00:00Z, if that stays so.")
	assert.Contains(t, told, "DirectoryUserGone The directory does not know user-02 any more")
	assert.InDelta(t, 2, testutil.ToFloat64(s.w.met.homes.WithLabelValues(stateWaiting)), 0)

	// An outage, an empty answer, a mass disappearance: nothing is noted, and nothing is removed, however long ago it was noted.
	whole, knows := s.says.people, s.says.knows
	for name, change := range map[string]func(){
		"outage":      func() { s.says.fault = errors.New("nobody answers") },
		"empty":       func() { s.says.people = people() },
		"wrong base":  func() { s.says.knows = map[string]bool{} },
		"four of all": func() { s.says.people = people(numbers(7, 30)...) },
	} {
		s.says.people, s.says.knows, s.says.fault = whole, knows, nil
		change()
		require.Error(t, s.pass(60), name)
		noted, going = s.noted()
		assert.Equal(t, []string{"01", "02"}, noted, name)
		assert.Empty(t, going, name)
	}
	assert.InDelta(t, 3, testutil.ToFloat64(s.w.met.looks.WithLabelValues(resultImplausible)), 0)
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.looks.WithLabelValues(resultUnavailable)), 0)
	assert.Contains(t, s.events(), "Nothing is noted or removed.")

	// A Hub that does not list its users is as none.
	s.says.people, s.says.knows, s.says.fault = whole, knows, nil
	refusing := s.w.sources
	s.w.sources.Hub = &listing{fault: fmt.Errorf("%w: list:users", spawner.ErrHubScopes)}
	found, err := Look(t.Context(), s.api, s.w.sources, "default", noon)
	require.NoError(t, err)
	for _, h := range found {
		assert.Equal(t, h.User == "user-02", h.Standing == Left, h.User)
		assert.Equal(t, h.User == "user-02", h.Stays() != "" && h.Standing == Left, h.User)
	}
	s.w.sources = refusing

	// One is back; of three more who left, one's policy keeps the home, one's server runs, and one's home somebody else made.
	s.says.people, s.says.knows, s.says.fault = people(numbers(1, 30)...), knows, nil
	for n, change := range map[int]func(*corev1.PersistentVolumeClaim){
		3: annotated(v1alpha1.AnnotationOnRemoval, v1alpha1.HomeKeep),
		5: func(c *corev1.PersistentVolumeClaim) { delete(c.Labels, v1alpha1.LabelManagedBy) },
	} {
		claim := s.claim(n)
		change(claim)
		require.NoError(t, s.api.Update(t.Context(), claim))
	}
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "of-04"}}
	nb.Spec.User, nb.Spec.Gateway = "user-04", &corev1.ObjectReference{Name: "gw"}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Claim: "claim-user-04", Size: resource.MustParse("1Gi")}}
	require.NoError(t, s.api.Create(t.Context(), nb))
	for _, n := range []string{"03", "04", "05"} {
		s.says.knows["user-"+n] = false
	}
	require.NoError(t, s.pass(2))
	noted, _ = s.noted()
	assert.Equal(t, []string{"02", "03", "04", "05"}, noted)

	// The grace counts from when each was noted.
	require.NoError(t, s.pass(30))
	_, going = s.noted()
	assert.Empty(t, going)
	s.w.cfg.Mode = Report
	require.NoError(t, s.pass(40))
	_, going = s.noted()
	assert.Empty(t, going, "it is only reported")
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.homes.WithLabelValues(stateDue)), 0)
	assert.InDelta(t, 3, testutil.ToFloat64(s.w.met.homes.WithLabelValues(stateKept)), 0)
	s.w.cfg.Mode = Remove
	s.events()
	require.NoError(t, s.pass(40))
	noted, going = s.noted()
	assert.Equal(t, []string{"02"}, going)
	assert.Equal(t, []string{"03", "04", "05"}, noted)
	assert.Contains(t, s.events(), "HomeRemoved The directory does not know user-02 any more, whose home this is. They have been gone since 2026-03-03T12:00:00Z, and the home is removed.")
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.removed), 0)

	// A stopped server keeps nothing.
	before := nb.DeepCopy()
	nb.Spec.Stopped = true
	require.NoError(t, s.api.Patch(t.Context(), nb, client.MergeFrom(before)))
	require.NoError(t, s.pass(41))
	_, going = s.noted()
	assert.Equal(t, []string{"02", "04"}, going)
}
