package backup

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// mostNamed bounds how many objects a sentence names.
const mostNamed = 5

// lostOf says what does not come back with an archive, or not by itself.
func lostOf(ctx context.Context, c client.Reader, contents *Contents, absent map[string]bool) ([]string, error) {
	var lost, variables, homes, starts []string
	secrets := map[client.ObjectKey]bool{}
	for _, s := range contents.Secrets {
		secrets[client.ObjectKeyFromObject(s)] = true
	}
	for _, o := range contents.Objects {
		switch o.GetKind() {
		case "JupyterKernel":
			var k v1alpha1.JupyterKernel
			k.SetAnnotations(o.GetAnnotations())
			if as, is := k.RestoreAs(); is && as.Kept == nil {
				variables = append(variables, o.GetNamespace()+"/"+o.GetName())
			}
		case kindOfNotebooks:
			var nb v1alpha1.JupyterNotebook
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &nb); err != nil || nb.Malformed() != nil {
				continue // whoever reads it says so
			}
			if home := nb.HomeClaim(); home != "" {
				there, err := exists(ctx, c, client.ObjectKey{Namespace: nb.Namespace, Name: home}, &corev1.PersistentVolumeClaim{}, absent)
				if err != nil {
					return nil, err
				}
				if !there {
					homes = append(homes, nb.Namespace+"/"+home)
				}
			}
			env := client.ObjectKey{Namespace: nb.Namespace, Name: nb.Spec.EnvSecret}
			if nb.IsOfHub() && !nb.Spec.Stopped && env.Name != "" && !secrets[env] {
				there, err := exists(ctx, c, env, &corev1.Secret{}, absent)
				if err != nil {
					return nil, err
				}
				if !there {
					starts = append(starts, nb.Namespace+"/"+nb.Name)
				}
			}
		}
	}
	switch n := contents.Manifest.Counts["Secret"]; {
	case n == 0:
		lost = append(lost, "The archive has no Secrets. Those of the chart are made anew with it: variables of parked kernels that were sealed with another stay shut.")
	case contents.Secrets == nil:
		lost = append(lost, fmt.Sprintf("The archive has %d Secrets, which were not opened: --identity or --passphrase-file opens them.", n))
	}
	for _, each := range []struct {
		names []string
		text  string
	}{
		{homes, "Homes that are not there, of which empty ones are made when their servers start: bring them first"},
		{starts, "Servers of JupyterHub without what it had given them, which are stopped two minutes after the service has seen them, for people to start again"},
		{variables, "Kernels that were in use or not kept, which come back without their variables"},
	} {
		if len(each.names) > 0 {
			lost = append(lost, each.text+": "+enumerate(each.names)+".")
		}
	}
	return lost, nil
}

func exists(ctx context.Context, c client.Reader, key client.ObjectKey, into client.Object, absent map[string]bool) (bool, error) {
	if absent[key.Namespace] {
		return false, nil
	}
	switch err := c.Get(ctx, key, into); {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	default:
		return false, fmt.Errorf("backup: look for %s: %w", key, err)
	}
}

func enumerate(names []string) string {
	if more := len(names) - mostNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}
