package portal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	quantities "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/portal/holdings"
)

// notebookWish is what a client of the API wants a notebook to be. It holds less than the kind: no
// Pod template, since the notebook is made by the service's account, which rules of the
// cluster may let make what the caller may not.
type notebookWish struct {
	Name string `json:"name"`
	// User is the Hub user whose it is; nil: nobody's.
	User *string `json:"user"`
	// Image, CPU and Memory are those of the server; nil: the default image, no limit.
	Image           *string        `json:"image"`
	CPU             *string        `json:"cpu"`
	Memory          *string        `json:"memory"`
	Storage         *storageWish   `json:"storage"`
	Gateway         *string        `json:"gateway"`
	Auth            *holdings.Auth `json:"auth"`
	IdleStopSeconds *int64         `json:"idle_stop_seconds"`
}

// storageWish is a home that is made for the notebook and outlives it.
type storageWish struct {
	Size         string  `json:"size"`
	StorageClass *string `json:"storage_class"`
	MountPath    *string `json:"mount_path"`
}

const (
	// Bounds of what a notebook is asked to be, in characters.
	maxImage    = 512
	maxQuantity = 64
	// maxSeconds is as long as the kinds take anything to last: ten years.
	maxSeconds = 315_360_000
)

var imagePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]*$`)

// invalidNotebook is the error for a notebook that would have faults.
type invalidNotebook struct{ faults []fault }

func (e *invalidNotebook) Error() string { return "portal: the notebook would have faults" }

// readBody is the JSON that a request has sent.
func (r *request) readBody() ([]byte, error) {
	if !r.sendsJSON() {
		return nil, errMediaType
	}
	body, err := io.ReadAll(r.Body)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, errTooLarge
	}
	if err != nil || !utf8.Valid(body) {
		return nil, &malformed{"The body cannot be read, or is not UTF-8."}
	}
	return body, nil
}

// notebookFrom is the object that a body asks for, and all that is wrong with it.
func notebookFrom(body []byte) (*v1alpha1.JupyterNotebook, []fault, error) {
	nb := &v1alpha1.JupyterNotebook{}
	var sent *notebookWish
	err := json.Unmarshal(body, &sent) // which says what is of a wrong type
	if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) && wrong.Field != "" {
		return nb, []fault{{wrong.Field, "must not be a JSON " + wrong.Value}}, nil
	}
	sent = nil
	unknown, err := kjson.UnmarshalStrict(body, &sent) // which says what is unknown
	if err != nil || sent == nil {
		return nb, nil, &malformed{"The body is not a JSON object."}
	}
	f := faultList{}
	for _, err := range unknown {
		one := fault{Detail: err.Error()}
		if at := kjson.FieldError(nil); errors.As(err, &at) {
			one = fault{at.FieldPath(), "is no field of a notebook here, or is there twice; a Pod template is applied with kubectl"}
		}
		f = append(f, one)
	}
	nb.Name, nb.Spec.User = sent.Name, f.user(sent.User)
	for _, text := range validation.IsDNS1035Label(nb.Name) {
		f.add("name", text)
	}
	if strings.HasPrefix(nb.Name, v1alpha1.HubServerPrefix) {
		f.add("name", "must not begin with "+v1alpha1.HubServerPrefix+", as the names of the Hub's servers do")
	}
	nb.Spec.Template, nb.Spec.Storage, nb.Spec.Auth = f.template(sent), f.storage(sent.Storage), f.auth(sent.Auth)
	if sent.Gateway != nil {
		nb.Spec.Gateway = &corev1.ObjectReference{Name: *sent.Gateway}
		for _, text := range validation.IsDNS1123Subdomain(*sent.Gateway) {
			f.add("gateway", text)
		}
	}
	if nb.Spec.Gateway == nil && nb.Spec.Template == nil {
		// One of them is required by the kind.
		nb.Spec.Template = templateOf(corev1.Container{})
	}
	if s := sent.IdleStopSeconds; s != nil {
		if nb.Spec.IdleStop = (&v1alpha1.IdleStop{Seconds: s}); *s < 1 || *s > maxSeconds {
			f.add("idle_stop_seconds", fmt.Sprintf("must be from 1 to %d", maxSeconds))
		}
	}
	return nb, f, nil
}

// faultList grows while a body is read.
type faultList []fault

func (f *faultList) add(field, detail string) { *f = append(*f, fault{field, detail}) }

func (f *faultList) user(sent *string) string {
	if sent == nil {
		return ""
	}
	if n := utf8.RuneCountInString(*sent); n == 0 || n > maxValue || strings.ContainsFunc(*sent, unicode.IsControl) {
		f.add("user", fmt.Sprintf("must have 1 to %d characters and no control characters", maxValue))
	}
	return *sent
}

// template is nil where the body says nothing of the server's Pod.
func (f *faultList) template(sent *notebookWish) *v1alpha1.PodTemplate {
	c, limits := corev1.Container{}, corev1.ResourceList{}
	if sent.Image != nil {
		if c.Image = *sent.Image; len(c.Image) > maxImage || !imagePattern.MatchString(c.Image) {
			f.add("image", fmt.Sprintf("must be the name of an image, of at most %d characters", maxImage))
		}
	}
	if sent.CPU != nil {
		limits[corev1.ResourceCPU] = f.quantity("cpu", *sent.CPU)
	}
	if sent.Memory != nil {
		limits[corev1.ResourceMemory] = f.quantity("memory", *sent.Memory)
	}
	if len(limits) > 0 {
		c.Resources.Limits = limits
	}
	if c.Image == "" && len(limits) == 0 {
		return nil
	}
	return templateOf(c)
}

func templateOf(c corev1.Container) *v1alpha1.PodTemplate {
	t := &v1alpha1.PodTemplate{}
	c.Name = v1alpha1.NotebookContainer
	t.Spec.Containers = []corev1.Container{c}
	return t
}

func (f *faultList) storage(sent *storageWish) *v1alpha1.NotebookStorage {
	if sent == nil {
		return nil
	}
	home := &v1alpha1.HomeVolume{Size: f.quantity("storage.size", sent.Size), StorageClassName: sent.StorageClass}
	if sent.StorageClass != nil {
		for _, text := range validation.IsDNS1123Subdomain(*sent.StorageClass) {
			f.add("storage.storage_class", text)
		}
	}
	if sent.MountPath != nil {
		if home.MountPath = *sent.MountPath; utf8.RuneCountInString(home.MountPath) > maxPlace || home.MountPath == "" {
			f.add("storage.mount_path", fmt.Sprintf("must have 1 to %d characters", maxPlace))
		}
	}
	// What the controllers would refuse later, but for the size.
	mounted := &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: quantities.MustParse("1"), MountPath: home.MountPath}}
	if why := podrules.StorageFault(mounted); why != nil {
		f.add("storage.mount_path", why.Problem)
	}
	return &v1alpha1.NotebookStorage{Home: home}
}

// auth names Secrets of the namespace, as the author of a JupyterNotebook may: what is in them is
// nobody's to send here.
func (f *faultList) auth(sent *holdings.Auth) *v1alpha1.JupyterAuth {
	if sent == nil {
		return nil
	}
	auth := &v1alpha1.JupyterAuth{
		Mode: sent.Mode, TokenSecretRef: f.secretKey("auth.token_secret", sent.TokenSecret), PasswordSecretRef: f.secretKey("auth.password_secret", sent.PasswordSecret),
	}
	switch named := auth.TokenSecretRef != nil || auth.PasswordSecretRef != nil; {
	case auth.Mode != "" && auth.Mode != v1alpha1.AuthEnable && auth.Mode != v1alpha1.AuthDisable:
		f.add("auth.mode", fmt.Sprintf("must be %s or %s", v1alpha1.AuthEnable, v1alpha1.AuthDisable))
	case auth.Mode == v1alpha1.AuthDisable && named:
		f.add("auth.mode", v1alpha1.AuthDisable+" lets everybody in: leave the Secrets out")
	}
	return auth
}

func (f *faultList) secretKey(field string, sent *holdings.SecretKey) *corev1.SecretKeySelector {
	if sent == nil {
		return nil
	}
	for _, text := range validation.IsDNS1123Subdomain(sent.Name) {
		f.add(field+".name", text)
	}
	for _, text := range validation.IsConfigMapKey(sent.Key) {
		f.add(field+".key", text)
	}
	return &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: sent.Name}, Key: sent.Key}
}

func (f *faultList) quantity(field, text string) quantities.Quantity {
	q, err := quantities.ParseQuantity(text)
	if err != nil || len(text) > maxQuantity || q.Sign() <= 0 {
		f.add(field, fmt.Sprintf("must be a quantity of more than 0 and of at most %d characters, such as 500m or 2Gi", maxQuantity))
		return quantities.Quantity{}
	}
	return q
}
