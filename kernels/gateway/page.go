package gateway

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// tellPage notes now and then at a parked kernel that a page has it open, where
// kernels such as it are kept ready: it is likely to come back. Nothing depends on
// it. It returns when to look again.
func (s *socket) tellPage(ctx context.Context, wg *sync.WaitGroup, k *v1alpha1.JupyterKernel, now time.Time) time.Duration {
	if phaseOf(k) != v1alpha1.KernelParked || s.identity.Notebook == "" {
		return time.Hour
	}
	if wait := s.nextPage.Sub(now); wait > 0 {
		return wait
	}
	s.nextPage = now.Add(v1alpha1.PageOpenEvery)
	said, err := time.Parse(time.RFC3339, k.Annotations[v1alpha1.AnnotationPageOpen])
	if err == nil && now.Sub(said) < v1alpha1.PageOpenEvery/2 { // by another page, or another replica
		s.nextPage = said.Add(v1alpha1.PageOpenEvery)
		return s.nextPage.Sub(now)
	}
	wg.Go(func() {
		if !s.srv.store.keepsReady(ctx, k.Spec.KernelSpec) {
			return
		}
		if err := s.srv.store.pageOpen(ctx, k, now); err != nil {
			s.log.Info("cannot note that a page is open", "error", err)
		}
	})
	return v1alpha1.PageOpenEvery
}

// keepsReady reports whether kernels of a kernelspec are kept ready, as far as that
// can be read.
func (s *store) keepsReady(ctx context.Context, kernelSpec string) bool {
	gw := &v1alpha1.JupyterGateway{}
	err := s.cache.Get(ctx, types.NamespacedName{Namespace: s.namespace, Name: s.gateway}, gw)
	return err == nil && gw.KeepsReady(kernelSpec)
}

// pageOpen tells the controllers that a page has a kernel open.
func (s *store) pageOpen(ctx context.Context, k *v1alpha1.JupyterKernel, now time.Time) error {
	return s.annotate(ctx, k, v1alpha1.AnnotationPageOpen, now.UTC().Format(time.RFC3339))
}

// annotate writes an annotation. It names the UID: by now another object may have
// the name.
func (s *store) annotate(ctx context.Context, k *v1alpha1.JupyterKernel, key, value string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": k.UID, "annotations": map[string]string{key: value}}})
	if err != nil {
		return err
	}
	err = s.patch(ctx, k.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
	if apierrors.IsInvalid(err) { // a UID cannot change: it is another object
		return errNoKernel
	}
	return err
}
