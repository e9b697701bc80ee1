package orphans

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner"
)

var (
	noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	// made is when the Hub made its users.
	made = noon.Add(-48 * time.Hour)
)

func notebook(name, user, server string, noted spawner.HubUser) v1alpha1.JupyterNotebook {
	nb := v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: "hub", Name: name, CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour)), Annotations: map[string]string{}}}
	nb.Spec.User, nb.Spec.Server, nb.Spec.Start = user, server, "s1"
	if noted.Known() {
		nb.Annotations[v1alpha1.AnnotationHubUser] = noted.String()
	}
	return nb
}

// running is a notebook whose last start was begun half an hour before noon.
func running(nb v1alpha1.JupyterNotebook, change ...func(*v1alpha1.JupyterNotebook)) v1alpha1.JupyterNotebook {
	began := metav1.NewTime(noon.Add(-30 * time.Minute))
	nb.Status.Phase, nb.Status.Start, nb.Status.StartTime = v1alpha1.NotebookReady, nb.Spec.Start, &began
	for _, c := range change {
		c(&nb)
	}
	return nb
}

// stoppedByHub is somebody whose servers the Hub says are stopped.
func stoppedByHub(name string, after time.Duration, servers ...string) Person {
	p := Person{Name: name, Created: made.Add(after).Unix(), Servers: map[string]ServerState{"": Stopped}}
	for _, server := range servers {
		p.Servers[server] = Stopped
	}
	return p
}

func hubUser(id int64, after time.Duration) spawner.HubUser {
	return spawner.HubUser{ID: id, Created: made.Add(after).Unix()}
}

func person(name string, after time.Duration, servers ...string) Person {
	p := Person{Name: name, Created: made.Add(after).Unix(), Servers: map[string]ServerState{"": Active}}
	for _, server := range servers {
		p.Servers[server] = Active
	}
	return p
}

func TestJudge(t *testing.T) {
	t.Parallel()
	known := []v1alpha1.JupyterNotebook{ // so that the Hub is believed
		notebook("k1", "kim", "", hubUser(90, time.Hour)), notebook("k2", "kai", "", hubUser(91, 2*time.Hour)),
	}
	there := []Person{person("kim", time.Hour), person("kai", 2*time.Hour)}
	for name, row := range map[string]struct {
		notebook v1alpha1.JupyterNotebook
		others   []v1alpha1.JupyterNotebook
		people   []Person
		want     Reason
	}{
		"the default server of somebody": {notebook("n", "ann", "", hubUser(1, 0)), nil, []Person{person("ann", 0)}, ""},
		"the time is rounded":            {notebook("n", "ann", "", hubUser(1, time.Second)), nil, []Person{person("ann", 0)}, ""},
		"a named server":                 {notebook("n", "ann", "gpu", hubUser(1, 0)), nil, []Person{person("ann", 0, "gpu")}, ""},
		"a named server that is gone":    {notebook("n", "ann", "gpu", hubUser(1, 0)), nil, []Person{person("ann", 0, "other")}, ServerGone},
		"nobody of the name":             {notebook("n", "ann", "", hubUser(1, 0)), nil, nil, UserGone},
		"a newcomer of the name":         {notebook("n", "ann", "", hubUser(1, 0)), nil, []Person{person("ann", time.Minute)}, UserGone},
		"renamed":                        {notebook("n", "ann", "", hubUser(1, 0)), nil, []Person{person("anna", 0)}, ""},
		"renamed, a named server":        {notebook("n", "ann", "gpu", hubUser(1, 0)), nil, []Person{person("anna", 0, "gpu")}, ""},
		"renamed, and the server gone":   {notebook("n", "ann", "gpu", hubUser(1, 0)), nil, []Person{person("anna", 0)}, ServerGone},
		"made with others, who have notebooks": {notebook("n", "ann", "", hubUser(1, 0)), []v1alpha1.JupyterNotebook{notebook("b", "bob", "", hubUser(2, 0))},
			[]Person{person("bob", 0)}, UserGone},
		"made with others":                   {notebook("n", "ann", "", hubUser(1, 0)), nil, []Person{person("bob", 0), person("cy", 0)}, Unclear},
		"a name alone":                       {notebook("n", "ann", "", spawner.HubUser{}), nil, []Person{person("ann", time.Minute)}, ""},
		"a name that is gone":                {notebook("n", "ann", "", spawner.HubUser{}), nil, nil, UserGone},
		"runs, and does by the Hub":          {running(notebook("n", "ann", "", hubUser(1, 0))), nil, []Person{person("ann", 0)}, ""},
		"runs, and is stopped by the Hub":    {running(notebook("n", "ann", "", hubUser(1, 0))), nil, []Person{stoppedByHub("ann", 0)}, ServerStopped},
		"a named one does":                   {running(notebook("n", "ann", "gpu", hubUser(1, 0))), nil, []Person{stoppedByHub("ann", 0, "gpu")}, ServerStopped},
		"its other one is stopped":           {running(notebook("n", "ann", "gpu", hubUser(1, 0))), nil, []Person{{Name: "ann", Created: made.Unix(), Servers: map[string]ServerState{"": Stopped, "gpu": Active}}}, ""},
		"the default one is not listed":      {running(notebook("n", "ann", "", hubUser(1, 0))), nil, []Person{{Name: "ann", Created: made.Unix()}}, ServerStopped},
		"renamed, runs and is stopped there": {running(notebook("n", "ann", "", hubUser(1, 0))), nil, []Person{stoppedByHub("anna", 0)}, ServerStopped},
		"a name alone, and it is stopped":    {running(notebook("n", "ann", "", spawner.HubUser{})), nil, []Person{stoppedByHub("ann", 0)}, ServerStopped},
		"it starts, and is stopped by the Hub": {running(notebook("n", "ann", "", hubUser(1, 0)), func(nb *v1alpha1.JupyterNotebook) { nb.Status.Phase = v1alpha1.NotebookStarting }), nil,
			[]Person{stoppedByHub("ann", 0)}, ServerStopped},
		"it is being stopped": {running(notebook("n", "ann", "", hubUser(1, 0)), func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Stopped = true }), nil, []Person{stoppedByHub("ann", 0)}, ""},
		"it has failed": {running(notebook("n", "ann", "", hubUser(1, 0)), func(nb *v1alpha1.JupyterNotebook) { nb.Status.Phase = v1alpha1.NotebookFailed }), nil,
			[]Person{stoppedByHub("ann", 0)}, ""},
		"it was started anew a moment ago": {running(notebook("n", "ann", "", hubUser(1, 0)), func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Start = "s2" }), nil, []Person{stoppedByHub("ann", 0)}, ""},
		"it was started after the question": {running(notebook("n", "ann", "", hubUser(1, 0)), func(nb *v1alpha1.JupyterNotebook) {
			began := metav1.NewTime(noon.Add(-time.Second))
			nb.Status.StartTime = &began
		}), nil, []Person{stoppedByHub("ann", 0)}, ""},
		"not of the Hub": {func() v1alpha1.JupyterNotebook {
			nb := notebook("n", "ann", "", spawner.HubUser{})
			nb.Spec.Start = ""
			return nb
		}(), nil, nil, ""},
		"made after the question": {func() v1alpha1.JupyterNotebook {
			nb := notebook("n", "ann", "", hubUser(1, 0))
			nb.CreationTimestamp = metav1.NewTime(noon.Add(-time.Second))
			return nb
		}(), nil, nil, ""},
	} {
		all := append(append([]v1alpha1.JupyterNotebook{row.notebook}, row.others...), known...)
		found, err := judge(all, append(row.people, there...), noon)
		require.NoError(t, err, name)
		if row.want == "" {
			assert.Empty(t, found, name)
			continue
		}
		require.Len(t, found, 1, name)
		assert.Equal(t, row.want, found[0].Reason, name)
		assert.Equal(t, "n", found[0].Notebook.Name, name)
	}
}

// TestAHubThatKnowsFewIsNotBelieved: with another Hub's database all would be gone.
func TestAHubThatKnowsFewIsNotBelieved(t *testing.T) {
	t.Parallel()
	var notebooks []v1alpha1.JupyterNotebook
	var people []Person
	for i := range 10 {
		name := fmt.Sprint("user-", i)
		for server := range 3 { // many servers of one person count once
			notebooks = append(notebooks, notebook(fmt.Sprint(name, server), name, fmt.Sprint(server), hubUser(int64(i+1), time.Duration(i)*time.Minute)))
		}
		people = append(people, person(name, time.Duration(i)*time.Minute, "0", "1", "2"))
	}
	for known, believed := range map[int]bool{0: false, 4: false, 5: true, 10: true} {
		_, err := judge(notebooks, people[:known], noon)
		assert.Equal(t, believed, err == nil, "%d of 10", known)
		if !believed {
			assert.ErrorIs(t, err, ErrImplausible)
		}
	}
	later := make([]Person, len(people)) // the database was made anew: same names
	for i, p := range people {
		p.Created += 3600 * 24
		later[i] = p
	}
	_, err := judge(notebooks, later, noon)
	assert.ErrorIs(t, err, ErrImplausible)
	_, err = judge(nil, nil, noon)
	assert.ErrorIs(t, err, ErrImplausible, "a Hub without users")
}
