package v1alpha1

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPhasesOfKernels(t *testing.T) {
	for phase, want := range map[KernelPhase]struct{ hasPod, over bool }{
		"":             {},
		KernelQueued:   {},
		KernelStarting: {hasPod: true},
		KernelReady:    {hasPod: true},
		KernelParked:   {over: true},
		KernelDead:     {over: true},
	} {
		assert.Equal(t, want.hasPod, phase.HasPod(), phase)
		assert.Equal(t, want.over, phase.IsOver(), phase)
		k := &JupyterKernel{Status: JupyterKernelStatus{Phase: phase, Run: 1}}
		assert.Equal(t, !want.over, k.HasPodOrWaits(), phase)
		k.Spec.Run = 2
		assert.True(t, k.HasPodOrWaits(), "%s, and asked for another run", phase)
	}
	assert.Equal(t, int64(1), (&JupyterKernel{}).WantedRun())
}

func TestWhatCountsAsRunning(t *testing.T) {
	failed := func(nb *JupyterNotebook) {
		nb.Generation = 2
		nb.Spec.Start = "s"
		nb.Status = JupyterNotebookStatus{Phase: NotebookFailed, Start: "s", ObservedGeneration: 2}
	}
	for name, row := range map[string]struct {
		change func(*JupyterNotebook)
		want   bool
	}{
		"not written yet":      {func(*JupyterNotebook) {}, true},
		"stopped":              {func(nb *JupyterNotebook) { nb.Spec.Stopped = true }, false},
		"under deletion":       {func(nb *JupyterNotebook) { nb.DeletionTimestamp = &metav1.Time{} }, false},
		"failed":               {failed, false},
		"failed, without Hub":  {func(nb *JupyterNotebook) { failed(nb); nb.Spec.Start, nb.Status.Start = "", "" }, true},
		"failed, changed":      {func(nb *JupyterNotebook) { failed(nb); nb.Generation = 3 }, true},
		"failed, begun anew":   {func(nb *JupyterNotebook) { failed(nb); nb.Spec.Start = "t" }, true},
		"failed, then stopped": {func(nb *JupyterNotebook) { failed(nb); nb.Spec.Stopped = true }, false},
	} {
		nb := &JupyterNotebook{}
		row.change(nb)
		assert.Equal(t, row.want, nb.CountsAsRunning(), name)
	}
}

func TestHomes(t *testing.T) {
	nb := &JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb"}}
	assert.Empty(t, nb.HomeClaim())
	nb.Spec.Storage = &NotebookStorage{}
	assert.Empty(t, nb.HomeClaim())
	nb.Spec.Storage.Home = &HomeVolume{}
	assert.Equal(t, "home-nb", nb.HomeClaim())
	assert.Equal(t, "/home/jovyan", nb.Spec.Storage.Home.Path())
	nb.Spec.Storage.Home = &HomeVolume{Claim: "mine", MountPath: "/home//ann/"}
	assert.Equal(t, "mine", nb.HomeClaim())
	assert.Equal(t, "/home/ann", nb.Spec.Storage.Home.Path())
}

func TestKeptReady(t *testing.T) {
	gw := &JupyterGateway{}
	assert.Empty(t, gw.KeptReady())
	gw.Spec.Warm = 2
	assert.Equal(t, []WarmKernel{{KernelSpec: DefaultKernelName, Count: 2}}, gw.KeptReady())
	gw.Spec.Kernels = []string{"a", "b"}
	gw.Spec.WarmKernels = []WarmKernel{{KernelSpec: "b", Count: 1}, {KernelSpec: "c"}}
	assert.Equal(t, []WarmKernel{{KernelSpec: "a", Count: 2}, {KernelSpec: "b", Count: 1}}, gw.KeptReady())
	assert.True(t, gw.KeepsReady("b"))
	assert.False(t, gw.KeepsReady("c"))
	gw.Spec.DefaultKernel = new("b")
	assert.Equal(t, "b", gw.KeptReady()[0].KernelSpec)
}
