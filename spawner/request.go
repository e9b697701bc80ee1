package spawner

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// ErrInvalid: a request that can never become a server. Its faults are
// wrapped; no value of the environment is among them.
var ErrInvalid = errors.New("spawner: invalid request")

// Bounds of one request. A Secret holds 1 MiB at most, annotations 256 KiB.
const (
	// MaxEnvBytes is of all variables together, names and values. Linux gives a program 2 MiB
	// for these and its arguments.
	MaxEnvBytes = 512 << 10
	// MaxWordsBytes is of command and arguments together.
	MaxWordsBytes = 128 << 10
	// MaxStringBytes is of one argument, or of NAME=value: Linux's MAX_ARG_STRLEN, 32 pages
	// of 4 KiB, without the NUL. A program with a longer one cannot be started.
	MaxStringBytes = 128<<10 - 1

	maxStartBytes   = 128
	maxOptionsBytes = 64 << 10
)

// What a Secret's key and the name of an environment variable have in common.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,252}$`)

// check returns every fault of a request as one ErrInvalid.
func check(req Request, now time.Time) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if req.User == "" || !utf8.ValidString(req.User) || !utf8.ValidString(req.Server) {
		fault("user and server must be UTF-8, and user not empty")
	}
	if req.Start == "" || len(req.Start) > maxStartBytes {
		fault("start must have 1 to %d bytes", maxStartBytes)
	}
	size := 0
	for name, value := range req.Env {
		size += len(name) + len(value)
		if !envName.MatchString(name) {
			fault("env: %q cannot name a variable", name)
		}
		if strings.ContainsRune(value, 0) {
			fault("env: %s contains NUL", name)
		}
		if length := len(name) + len("=") + len(value); length > MaxStringBytes {
			fault("env: %s has %d bytes with its name, the most is %d", name, length, MaxStringBytes)
		}
	}
	if size > MaxEnvBytes {
		fault("env has %d bytes, the most is %d", size, MaxEnvBytes)
	}
	words := 0
	for _, word := range append(append([]string{}, req.Command...), req.Args...) {
		words += len(word)
		if strings.ContainsRune(word, 0) || !utf8.ValidString(word) {
			fault("command and args must be UTF-8 without NUL")
		}
		if len(word) > MaxStringBytes {
			fault("a word of command and args has %d bytes, the most is %d", len(word), MaxStringBytes)
		}
	}
	if words > MaxWordsBytes {
		fault("command and args have %d bytes, the most is %d", words, MaxWordsBytes)
	}
	if req.SSL != nil {
		for _, f := range req.SSL.Faults(now) {
			fault("ssl.%s: %s", f.Field, f.Message)
		}
	}
	if len(req.Options) > maxOptionsBytes {
		fault("options have %d bytes, the most is %d", len(req.Options), maxOptionsBytes)
	}
	if req.CPULimit.Sign() <= 0 || req.MemoryLimit.Sign() <= 0 {
		fault("limits of cpu and memory must be positive")
	}
	if req.CPURequest.Sign() < 0 || req.CPURequest.Cmp(req.CPULimit) > 0 ||
		req.MemoryRequest.Sign() < 0 || req.MemoryRequest.Cmp(req.MemoryLimit) > 0 {
		fault("requests of cpu and memory must lie between 0 and their limits")
	}
	if faults != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, errors.Join(faults...))
	}
	return nil
}

// notebookSpec is the whole spec of a requested server whose object has that
// name. home is the claim of its home volume, empty for the one named after it, or the
// directory of a static home.
func notebookSpec(cfg Config, req Request, name, home string) v1alpha1.JupyterNotebookSpec {
	spec := v1alpha1.JupyterNotebookSpec{
		Template:      &v1alpha1.PodTemplate{PodTemplateSpec: requestTemplate(cfg, req)},
		User:          req.User,
		Server:        req.Server,
		Start:         req.Start,
		EnvSecret:     name + envSecretSuffix,
		Storage:       req.Storage.DeepCopy(),
		KernelOptions: req.KernelOptions.DeepCopy(),

		ServersPerUser: max(req.ServersPerUser, 1),
		MaxRunSeconds:  req.MaxRunSeconds,
		ImageChannel:   req.ImageChannel,

		ServiceAccountTokens: slices.Clone(req.ServiceAccountTokens),
	}
	if req.SSL != nil {
		spec.SSLSecret = name + sslSecretSuffix
	}
	if cfg.GatewayName != "" {
		spec.Gateway = &corev1.ObjectReference{Name: cfg.GatewayName}
	}
	if spec.Storage != nil && spec.Storage.Home != nil {
		made := spec.Storage.Home
		if made.Static != nil {
			made.Static.SubPath = home
		} else {
			made.Claim = home
		}
		made.Labels, made.Annotations = podrules.WriteOut(made.Labels, made.Annotations, person(req.Key))
	}
	if req.ServerIdleSeconds > 0 {
		spec.IdleStop = &v1alpha1.IdleStop{Seconds: &req.ServerIdleSeconds, SnoozeMaxSeconds: req.SnoozeMaxSeconds}
	}
	return spec
}

func requestTemplate(cfg Config, req Request) corev1.PodTemplateSpec {
	image := req.Image
	if image == "" {
		image = cfg.DefaultImage
	}
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{
			Name:  v1alpha1.NotebookContainer,
			Image: image,
			// Arguments all: the image's entrypoint, an init such as tini, stays
			// the first process, as it does with KubeSpawner.
			Args: literal(slices.Concat(req.Command, req.Args)),
			Env:  req.SecretEnv,
			Resources: corev1.ResourceRequirements{
				Limits:   corev1.ResourceList{corev1.ResourceCPU: req.CPULimit, corev1.ResourceMemory: req.MemoryLimit},
				Requests: corev1.ResourceList{corev1.ResourceCPU: req.CPURequest, corev1.ResourceMemory: req.MemoryRequest},
			},
		}},
		NodeSelector:       req.NodeSelector,
		Tolerations:        req.Tolerations,
		Affinity:           req.Affinity.DeepCopy(),
		PriorityClassName:  req.PriorityClassName,
		SchedulerName:      req.SchedulerName,
		ServiceAccountName: req.ServiceAccountName,
		ImagePullSecrets:   pullSecrets(req.ImagePullSecrets),
	}}
	podrules.Shape(&template, req.Pod, person(req.Key))
	return template
}

// person is whom the texts of a policy are written out for.
func person(k Key) podrules.Person {
	who := podrules.Person{User: k.User, Server: k.Server, UserSlug: userSlug(k.User)}
	if k.Server != "" {
		who.ServerSlug = userSlug(k.Server)
	}
	return who
}

func pullSecrets(names []v1alpha1.PullSecret) []corev1.LocalObjectReference {
	var all []corev1.LocalObjectReference
	for _, s := range names {
		all = append(all, corev1.LocalObjectReference{Name: s.Name})
	}
	return all
}

// literal keeps the kubelet from expanding $(NAME) in words that came from a user.
func literal(words []string) []string {
	if words == nil {
		return nil
	}
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = podrules.Literal(word)
	}
	return out
}

// envSecret holds the environment of one start.
func envSecret(cfg Config, req Request, name string) *corev1.Secret {
	env := Environment(cfg, req)
	data := make(map[string][]byte, len(env))
	for key, value := range env {
		data[key] = []byte(value)
	}
	return startSecret(cfg, req, name, envSecretSuffix, data)
}

// startSecret holds something of one start. The annotation tells for which: the controller uses
// it for no other.
func startSecret(cfg Config, req Request, name, suffix string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cfg.Namespace, Name: name + suffix,
			Labels:      notebookLabels(name, req.Key),
			Annotations: map[string]string{v1alpha1.AnnotationStart: req.Start},
		},
		Data: data,
	}
}

// isEnvOf tells that a Secret was made to be the environment of that notebook, or to have its
// certificates.
func isEnvOf(secret *corev1.Secret, notebook string) bool {
	return secret.Labels[v1alpha1.LabelNotebook] == notebook && secret.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy
}

// notebookLabels are on the notebook itself.
func notebookLabels(notebook string, k Key) map[string]string {
	labels := objectLabels(notebook, k)
	if k.User != "" {
		labels[v1alpha1.LabelAccount] = podrules.LabelValue(account(k.User))
	}
	return labels
}

// objectLabels are on everything that belongs to a notebook.
func objectLabels(notebook string, k Key) map[string]string {
	labels := map[string]string{
		v1alpha1.LabelManagedBy: v1alpha1.ManagedBy,
		v1alpha1.LabelName:      v1alpha1.AppName,
		v1alpha1.LabelComponent: v1alpha1.ComponentNotebook,
		v1alpha1.LabelNotebook:  notebook,
	}
	if k.User != "" {
		labels[v1alpha1.LabelHubUsername] = podrules.LabelValue(k.User)
		labels[v1alpha1.LabelHubServername] = podrules.LabelValue(k.Server)
	}
	if k.HubUser.Known() {
		labels[v1alpha1.LabelHubUserID] = strconv.FormatInt(k.HubUser.ID, 10)
	}
	return labels
}
