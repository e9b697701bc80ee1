package renew

import (
	"context"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Making makes the Secrets of a release in its cluster, where alone it is known which are
// there: a chart that is rendered elsewhere would make new ones each time.
type Making struct {
	API       kubernetes.Interface
	Namespace string
	Release   string
	Out       io.Writer
}

// Run makes those that are missing, each named as signing=elastichub-signing. One that is
// there stays, whosever it is.
func (m Making) Run(ctx context.Context, named []string) error {
	for _, text := range named {
		what, name, _ := strings.Cut(text, "=")
		secret, err := Find(what)
		if err != nil {
			return err
		}
		if !secret.Made() || secret.ofGateway || name == "" {
			return fmt.Errorf("--make: %.200q is not like signing=elastichub-signing", text)
		}
		if err := m.ensure(ctx, secret, name); err != nil {
			return err
		}
	}
	return nil
}

func (m Making) ensure(ctx context.Context, secret Secret, name string) error {
	_, err := m.API.CoreV1().Secrets(m.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		fmt.Fprintf(m.Out, "%s is there\n", name)
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("read the Secret %s: %w", name, err)
	}
	value := secret.make()
	made := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: m.Namespace, Labels: map[string]string{
			"app.kubernetes.io/name": "elastichub", "app.kubernetes.io/instance": m.Release, "app.kubernetes.io/component": "service", "app.kubernetes.io/managed-by": "Helm",
		}, Annotations: map[string]string{
			// Helm removes it with nothing, and an older chart, which makes it itself, may have it.
			"helm.sh/resource-policy": "keep", "meta.helm.sh/release-name": m.Release, "meta.helm.sh/release-namespace": m.Namespace,
		}},
		StringData: map[string]string{secret.key: value},
	}
	if secret.Name == NotebookMetrics {
		made.StringData["sha256"] = sha256Hex(value)
	}
	_, err = m.API.CoreV1().Secrets(m.Namespace).Create(ctx, made, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) {
		return nil // of another run at the same time
	}
	if err != nil {
		return fmt.Errorf("make the Secret %s: %w", name, err)
	}
	fmt.Fprintf(m.Out, "%s is made\n", name)
	return nil
}
