package spawner

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/internalssl"
	"github.com/elastichub/elastichub/podrules"
)

// A server of a Hub with internal_ssl has a Secret more, which comes and goes with the one that
// has its environment: key, certificate and authorities, as the Hub has made them for this start, and
// what elastichub itself shows to the server:
//
//	Host  ─▶ the Hub makes a certificate for that name
//	Start ─▶ Secret NAME-ssl ─▶ spec.sslSecret ─▶ files and variables of the Pod, https in the address

// ErrOtherHost: the server's host is not the one that its certificate names. Whoever asks for the
// host again gets the one that counts.
var ErrOtherHost = errors.New("spawner: the certificate is not for the server's host")

// Variables by which jupyterhub-singleuser finds its files.
const (
	envSSLKey         = "JUPYTERHUB_SSL_KEYFILE"
	envSSLCertificate = "JUPYTERHUB_SSL_CERTFILE"
	envSSLAuthorities = "JUPYTERHUB_SSL_CLIENT_CA"

	sslPath = "/etc/elastichub/ssl"
)

// Host is the host of a server's address, whether there is the server or not. others are as in
// Request. Error: ErrNameTaken.
func (s *Service) Host(ctx context.Context, k Key, others []HubUser) (string, error) {
	_, name, err := s.locate(ctx, s.requester(Request{Key: k, Others: others}))
	if err != nil {
		return "", err
	}
	return s.hostOf(name), nil
}

func (s *Service) hostOf(name string) string {
	return (&v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: s.cfg.Namespace, Name: name}}).Host()
}

// sslSecret holds the files of one start, with a new key for elastichub itself.
func (s *Service) sslSecret(req Request, name string) (*corev1.Secret, error) {
	files, err := internalssl.Files(*req.SSL, s.now())
	if err != nil {
		return nil, err
	}
	return startSecret(s.cfg, req, name, sslSecretSuffix, files), nil
}

// mountSSL has the server find its key and certificates. The variables are ours whatever a template says:
// files of other names are not there.
func mountSSL(nb *v1alpha1.JupyterNotebook, pod *corev1.PodSpec, c *corev1.Container) {
	if nb.Spec.SSLSecret == "" {
		return
	}
	var items []corev1.KeyToPath // what elastichub shows to the server is not for who runs in it
	for _, variable := range []struct{ name, file string }{
		{envSSLKey, internalssl.FileKey}, {envSSLCertificate, internalssl.FileCertificate}, {envSSLAuthorities, internalssl.FileAuthorities},
	} {
		items = append(items, corev1.KeyToPath{Key: variable.file, Path: variable.file})
		setEnv(c, corev1.EnvVar{Name: variable.name, Value: sslPath + "/" + variable.file})
	}
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: v1alpha1.VolumeSSL, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: nb.Spec.SSLSecret, Items: items},
	}})
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v1alpha1.VolumeSSL, MountPath: sslPath, ReadOnly: true})
}

// certificates checks that spec.sslSecret is there and, when the Service wrote it, that it is of this
// very start; then makes the notebook its owner.
func (c *controller) certificates(ctx context.Context, nb *v1alpha1.JupyterNotebook) error {
	if nb.Spec.SSLSecret == "" {
		return nil
	}
	secret, err := c.secretOfStart(ctx, nb, nb.Spec.SSLSecret)
	if err != nil || !isEnvOf(secret, nb.Name) || metav1.IsControlledBy(secret, nb) {
		return err
	}
	owned := secret.DeepCopy()
	owned.OwnerReferences = meta(nb, "").OwnerReferences
	if err := c.client.Patch(ctx, owned, podrules.PatchOver(secret)); err != nil {
		return writeFault(err, "Secret")
	}
	return nil
}

// secretOfStart reads a Secret that the notebook's spec names. One that was written for another
// start is not there yet.
func (c *controller) secretOfStart(ctx context.Context, nb *v1alpha1.JupyterNotebook, name string) (*corev1.Secret, error) {
	var secret corev1.Secret
	err := c.live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: name}, &secret)
	switch {
	case apierrors.IsNotFound(err) && nb.Spec.Start != "" && nb.Status.Start == nb.Spec.Start:
		return nil, pending(ReasonWaitingForEnvironment, "What JupyterHub had given this server was removed when it stopped. Start it in JupyterHub.")
	case apierrors.IsNotFound(err):
		return nil, pending(ReasonWaitingForEnvironment, "Waiting for the Secret %s.", name)
	case err != nil:
		return nil, fmt.Errorf("read Secret of a start: %w", err)
	case isEnvOf(&secret, nb.Name) && secret.Annotations[v1alpha1.AnnotationStart] != nb.Spec.Start:
		return nil, pending(ReasonWaitingForEnvironment, "Waiting for the environment of this start.")
	}
	return &secret, nil
}

// sslOf is how a server is connected to, nil if it speaks HTTP.
func (c *controller) sslOf(ctx context.Context, nb *v1alpha1.JupyterNotebook) (*tls.Config, error) {
	if nb.Spec.SSLSecret == "" {
		return nil, nil
	}
	var secret corev1.Secret
	if err := c.live.Get(ctx, client.ObjectKey{Namespace: nb.Namespace, Name: nb.Spec.SSLSecret}, &secret); err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	return internalssl.Client(secret.Data)
}
