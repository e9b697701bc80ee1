package homes

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner"
)

func (s *scene) theJobs() []batchv1.Job {
	s.Helper()
	var all batchv1.JobList
	require.NoError(s, s.api.List(s.Context(), &all, client.InNamespace("default")))
	return all.Items
}

func (s *scene) tend() bool {
	s.Helper()
	over, err := s.w.tend(s.Context())
	require.NoError(s, err)
	return over
}

// ends is what Kubernetes' controller of Jobs writes, which is not there.
func (s *scene) ends(job batchv1.Job, done bool) {
	s.Helper()
	now := metav1.Now()
	first, last := batchv1.JobFailureTarget, batchv1.JobFailed
	if done {
		first, last = batchv1.JobSuccessCriteriaMet, batchv1.JobComplete
		job.Status.Succeeded, job.Status.CompletionTime = 1, &now
	}
	job.Status.StartTime = &now
	for _, kind := range []batchv1.JobConditionType{first, last} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, Reason: "Tested", Message: "it has reached the specified backoff limit", LastTransitionTime: now, LastProbeTime: now,
		})
	}
	require.NoError(s, s.api.Status().Update(s.Context(), &job))
}

// TestHomesAreArchivedBeforeTheyAreRemoved, on a real API server: one that cannot be archived stays,
// and so does that of who comes back meanwhile; a directory of a claim that many share is archived and stays.
func TestHomesAreArchivedBeforeTheyAreRemoved(t *testing.T) {
	s := newScene(t)
	s.w.cfg.Mode, s.w.cfg.ArchiveClaim, s.w.cfg.Image, s.w.cfg.PullSecrets = Archive, "archives", "elastichub:1", []string{"registry"}
	require.NoError(t, s.w.cfg.Validate())
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "of-01"}}
	nb.Spec.User, nb.Spec.Gateway, nb.Spec.Stopped = "user-01", &corev1.ObjectReference{Name: "gw"}, true
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Claim: "claim-user-01", Size: resource.MustParse("1Gi")}}
	nb.Spec.Template = &v1alpha1.PodTemplate{}
	nb.Spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1234)}
	nb.Spec.Template.Spec.Containers = []corev1.Container{{Name: v1alpha1.NotebookContainer, Image: "notebook:1"}}
	require.NoError(t, s.api.Create(t.Context(), nb))
	note := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "home-user-31",
			Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelStaticHome: "shared"},
			Annotations: map[string]string{
				v1alpha1.LabelHubUsername: "user-31", v1alpha1.AnnotationClaimTemplate: "shared/{username}",
				v1alpha1.AnnotationHubUser: spawner.HubUser{ID: 31, Created: madeAt(31)}.String(),
			},
		},
		Data: map[string]string{"claim": "shared", "subPath": "user-31"},
	}
	require.NoError(t, s.api.Create(t.Context(), note))

	s.says.people = people(numbers(3, 30)...)
	s.says.knows["user-31"] = false
	require.NoError(t, s.pass(0))
	noted, _ := s.noted()
	assert.Equal(t, []string{"01", "02"}, noted)
	require.NoError(t, s.api.Get(t.Context(), client.ObjectKeyFromObject(note), note))
	assert.NotEmpty(t, note.Annotations[v1alpha1.AnnotationUserGone])
	told := s.events()
	assert.Contains(t, told, "whose home this is. It is archived and removed after 2026-04-01T12:00:00Z, if that stays so.")
	assert.Contains(t, told, "whose home this is. It is archived after 2026-04-01T12:00:00Z, if that stays so, and the directory stays.")
	assert.Empty(t, s.theJobs(), "the grace is not over")

	// Two at a time, each once, and nothing is removed meanwhile.
	for range 2 {
		require.NoError(t, s.pass(31))
		require.Len(t, s.theJobs(), archivesAtOnce)
		_, going := s.noted()
		assert.Empty(t, going)
	}
	assert.Contains(t, s.events(), "HomeArchiving")
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.homes.WithLabelValues(stateDue)), 0)
	assert.InDelta(t, 2, testutil.ToFloat64(s.w.met.homes.WithLabelValues(stateArchiving)), 0)
	assert.False(t, s.tend())
	job := func(of client.Object) *batchv1.Job {
		for _, job := range s.theJobs() {
			if job.OwnerReferences[0].UID == of.GetUID() {
				return &job
			}
		}
		return nil
	}
	one := job(s.claim(1))
	require.NotNil(t, one)
	pod := one.Spec.Template.Spec
	assert.Equal(t, int64(1234), *pod.SecurityContext.RunAsUser, "as its server did")
	assert.False(t, *pod.AutomountServiceAccountToken)
	assert.True(t, pod.Containers[0].VolumeMounts[0].ReadOnly)
	assert.Equal(t, "claim-user-01", pod.Volumes[0].PersistentVolumeClaim.ClaimName)
	assert.Equal(t, "archives", pod.Volumes[1].PersistentVolumeClaim.ClaimName)
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "registry"}}, pod.ImagePullSecrets)
	assert.Equal(t, int32(archiveTries-1), *one.Spec.BackoffLimit)

	// The Job's own Pod is no use of the home; what came of it, its last words tell.
	own := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "archiving", Labels: map[string]string{batchv1.JobNameLabel: one.Name}}, Spec: pod}
	for name, value := range one.Spec.Template.Labels {
		own.Labels[name] = value
	}
	require.NoError(t, s.api.Create(t.Context(), own))
	own.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "archive", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: `{"entries":7}`, FinishedAt: metav1.Now()}}}}
	require.NoError(t, s.api.Status().Update(t.Context(), own))
	assert.False(t, s.tend())

	// Whole: noted, told, and removed at the next look. The one that failed stays, and is told once.
	s.ends(*one, true)
	for _, other := range s.theJobs() {
		if other.Name != one.Name {
			s.ends(other, false)
		}
	}
	assert.True(t, s.tend())
	told = s.events()
	assert.Contains(t, told, `and read back: {"entries":7}`)
	assert.Contains(t, told, "HomeArchiveFailed")
	assert.False(t, s.tend(), "both are told")
	assert.Empty(t, s.events())
	file, whole := Home{Claim: s.claim(1)}.Archived()
	assert.True(t, whole)
	assert.Regexp(t, `^user-01-[0-9a-f]{12}-20260402t120000z\.tar\.zst$`, file)
	require.NoError(t, s.pass(31))
	_, going := s.noted()
	assert.Equal(t, []string{"01"}, going)
	assert.Contains(t, s.events(), "the home is removed. It is archived as "+file+".")
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.archived), 0)
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.homes.WithLabelValues(stateFailed)), 0)

	// An outage ends nothing; whoever is back has no Job and no note, and a failed one that is deleted is tried again.
	require.Len(t, s.theJobs(), 2)
	s.says.fault = errors.New("nobody answers")
	require.Error(t, s.pass(32))
	require.Len(t, s.theJobs(), 2)
	s.says.fault = nil
	s.says.people = people(numbers(2, 30)...)
	require.NoError(t, s.pass(32))
	left := s.theJobs()
	require.Len(t, left, 1)
	assert.Equal(t, note.Name, left[0].OwnerReferences[0].Name)
	noted, _ = s.noted()
	assert.Empty(t, noted)

	// The static home: archived, and nothing of it goes.
	if over, _ := ended(&left[0]); over {
		require.NoError(t, s.api.Delete(t.Context(), &left[0], client.PropagationPolicy(metav1.DeletePropagationBackground)))
		require.NoError(t, s.pass(33))
		left = s.theJobs()
		require.Len(t, left, 1)
	}
	assert.Equal(t, "user-31", left[0].Spec.Template.Spec.Containers[0].VolumeMounts[0].SubPath)
	s.ends(left[0], true)
	assert.True(t, s.tend())
	require.NoError(t, s.pass(34))
	require.NoError(t, s.pass(35))
	require.NoError(t, s.api.Get(t.Context(), client.ObjectKeyFromObject(note), note))
	assert.Nil(t, note.DeletionTimestamp)
	assert.Empty(t, s.theJobs())
	assert.Contains(t, Fate(Home{Note: note, Standing: Left, ByPerson: true}, s.w.cfg), "and the directory stays")
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.homes.WithLabelValues(stateKept)), 0)
}

// TestAServerThatStartsEndsTheArchive: a disk may be on one node at a time. What was archived before a
// server used the home again is no reason to remove it.
func TestAServerThatStartsEndsTheArchive(t *testing.T) {
	s := newScene(t)
	s.w.cfg.Mode, s.w.cfg.ArchiveClaim, s.w.cfg.Image = Archive, "archives", "elastichub:1"
	s.says.people = people(numbers(2, 30)...)
	require.NoError(t, s.pass(0))
	require.NoError(t, s.pass(31))
	require.Len(t, s.theJobs(), 1)
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "of-01"}}
	nb.Spec.User, nb.Spec.Gateway = "user-01", &corev1.ObjectReference{Name: "gw"}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Claim: "claim-user-01", Size: resource.MustParse("1Gi")}}
	require.NoError(t, s.api.Create(t.Context(), nb))
	s.events()
	assert.False(t, s.tend())
	assert.Empty(t, s.theJobs())
	assert.Contains(t, s.events(), "HomeArchiveEnded The home is used again")

	h := Home{Claim: homeOf(1, annotated(v1alpha1.AnnotationArchived, "2026-04-02T12:00:00Z a.tar.zst"))}
	for used, want := range map[time.Duration]bool{-time.Hour: true, time.Hour: false} {
		h.LastUse = noon.Add(31*24*time.Hour + used)
		_, archived := h.Archived()
		assert.Equal(t, want, archived, used)
	}
	for _, text := range []string{"", "2026-04-02T12:00:00Z", "yesterday a.tar.zst"} {
		_, archived := Home{Claim: homeOf(1, annotated(v1alpha1.AnnotationArchived, text))}.Archived()
		assert.False(t, archived, text)
	}
}

func TestArchiveNeedsAClaim(t *testing.T) {
	t.Parallel()
	good := Config{Namespace: "hub", Mode: Archive, Grace: 30 * 24 * time.Hour, MostPercent: 10, ArchiveClaim: "archives"}
	require.NoError(t, good.Validate())
	for text, change := range map[string]func(*Config){
		"archive.claim: has to name a claim":   func(c *Config) { c.ArchiveClaim = "" },
		"archive.claim: is for mode archive":   func(c *Config) { c.Mode = Remove },
		`archive.claim: "A b" is no name`:      func(c *Config) { c.ArchiveClaim = "A b" },
		"is none of off, report, remove, arch": func(c *Config) { c.Mode = "zip" },
	} {
		bad := good
		change(&bad)
		err := bad.Validate()
		require.Error(t, err, text)
		assert.True(t, strings.Contains(err.Error(), text), err.Error())
	}
}
