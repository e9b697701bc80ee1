package portal

import (
	"context"
	"hash/fnv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
)

// lists is what pages and lists show: of everything that is in the cache, as it was a
// moment ago. Thousands of objects take a while, and many pages look again.
type lists struct {
	read func(context.Context) (seen, error)
	age  time.Duration
	now  func() time.Time

	mu     sync.Mutex
	latest seen
	at     time.Time
}

// seen is what was in the cache, and marks that are others when something has changed:
// of everything, and of what is a person's own.
type seen struct {
	holdings.Holdings
	mark  uint64
	marks map[string]uint64
}

// note adds an object to the marks; owner may be empty.
func (s *seen) note(o client.Object, owner string) {
	hash := fnv.New64a()
	for _, part := range []string{o.GetName(), string(o.GetUID()), o.GetResourceVersion()} {
		_, _ = hash.Write(append([]byte(part), 0)) // it never fails
	}
	s.mark += hash.Sum64()
	if owner != "" {
		s.marks[owner] += hash.Sum64()
	}
}

// get gives what is at most age old. It is not to be changed.
func (l *lists) get(ctx context.Context) (seen, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if age := now.Sub(l.at); !l.at.IsZero() && age >= 0 && age < l.age {
		return l.latest, nil
	}
	s, err := l.read(ctx)
	if err != nil {
		return seen{}, err
	}
	l.latest, l.at = s, now
	return s, nil
}

// forget makes the next list a fresh one: somebody has changed something here.
func (l *lists) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = time.Time{}
}

// readAll reads everything from the cache.
func (p *Portal) readAll(ctx context.Context) (seen, error) {
	var kernels v1alpha1.JupyterKernelList
	var notebooks v1alpha1.JupyterNotebookList
	var specs v1alpha1.JupyterKernelSpecList
	var pods corev1.PodList
	for _, list := range []client.ObjectList{&kernels, &notebooks, &specs, &pods} {
		if err := p.deps.Client.List(ctx, list, client.InNamespace(p.config.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return seen{}, err
		}
	}
	s := seen{marks: map[string]uint64{}, Holdings: holdings.Of(holdings.Objects{
		Kernels: kernels.Items, Notebooks: notebooks.Items, KernelSpecs: specs.Items, Pods: pods.Items,
	})}
	for i := range s.Kernels {
		s.note(&kernels.Items[i], ownerOfKernel(s.Kernels[i]))
	}
	for i := range s.Servers {
		s.note(&notebooks.Items[i], ownerOfServer(s.Servers[i]))
	}
	for i := range pods.Items {
		s.note(&pods.Items[i], "")
	}
	return s, nil
}

// kernelOf is the path's kernel as its object is now, and whose it is. Errors:
// errNotFound, or why nobody knows whether the person is an administrator.
func (p *Portal) kernelOf(r *request) (o *v1alpha1.JupyterKernel, k holdings.Kernel, mine bool, err error) {
	o = &v1alpha1.JupyterKernel{}
	found, err := p.find(r, r.PathValue("name"), o)
	if err != nil {
		return nil, k, false, err
	}
	objects := holdings.Objects{Kernels: []v1alpha1.JupyterKernel{*o}, KernelSpecs: make([]v1alpha1.JupyterKernelSpec, 1), Pods: make([]corev1.Pod, 1)}
	if found {
		for name, into := range map[string]client.Object{o.Spec.KernelSpec: &objects.KernelSpecs[0], o.Status.PodName: &objects.Pods[0]} {
			if _, err := p.find(r, name, into); err != nil {
				return nil, k, false, err
			}
		}
	}
	k = holdings.Of(objects).Kernels[0]
	mine, err = r.mayHave(found, ownerOfKernel(k))
	return o, k, mine, err
}

// serverOf is the path's server, as kernelOf.
func (p *Portal) serverOf(r *request) (o *v1alpha1.JupyterNotebook, s holdings.Server, mine bool, err error) {
	o = &v1alpha1.JupyterNotebook{}
	found, err := p.find(r, r.PathValue("name"), o)
	if err != nil {
		return nil, s, false, err
	}
	objects := holdings.Objects{Notebooks: []v1alpha1.JupyterNotebook{*o}, Pods: make([]corev1.Pod, 1)}
	if found {
		if _, err := p.find(r, o.Status.PodName, &objects.Pods[0]); err != nil {
			return nil, s, false, err
		}
	}
	s = holdings.Of(objects).Servers[0]
	mine, err = r.mayHave(found, ownerOfServer(s))
	return o, s, mine, err
}

// isObjectName: an object can have the name, and a request can name it.
func isObjectName(name string) bool {
	return name != "" && len(content.IsPathSegmentName(name)) == 0
}

// find reads an object from the cache, and reports whether it is there.
func (p *Portal) find(r *request, name string, into client.Object) (bool, error) {
	return find(r, p.deps.Client, p.config.Namespace, name, into)
}

func find(r *request, read client.Reader, namespace, name string, into client.Object) (bool, error) {
	if !isObjectName(name) {
		return false, nil
	}
	err := read.Get(r.Context(), client.ObjectKey{Namespace: namespace, Name: name}, into)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// mayHave reports whether what was found is the person's own, and refuses what is not
// theirs to see: nobody learns from the answer whether there is any.
func (r *request) mayHave(found bool, owner string) (mine bool, err error) {
	mine = found && owner != "" && owner == r.person.User
	switch {
	case mine:
		return true, nil
	case r.adminErr != nil:
		return false, r.adminErr
	case !found || !r.isAdmin && r.person.Account == nil: // an account has the right of the route
		return false, errNotFound
	}
	return false, nil
}

// ownerOfKernel is the Hub user whose kernel it is: nobody, where a gateway's other
// client has it, whose name may be that of a user.
func ownerOfKernel(k holdings.Kernel) string {
	if k.Notebook == "" {
		return ""
	}
	return k.User
}

func ownerOfServer(s holdings.Server) string { return s.User }
