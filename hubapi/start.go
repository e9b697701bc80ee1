package hubapi

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/spawner"
)

// invalidStart is the error for a start request whose parts cannot be used.
type invalidStart struct{ faults []fieldFault }

func (e *invalidStart) Error() string {
	text := "hubapi: invalid start request"
	for _, f := range e.faults {
		text += "; " + f.Pointer + ": " + f.Code
	}
	return text
}

var (
	startPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	// What a Secret's key and an environment variable's name have in common.
	envPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,252}$`)
)

// maxWords bounds cmd and args together.
const maxWords = 256

const (
	codeAboveMax  = forms.AboveMax
	codeMalformed = "malformed"
)

// checkStart returns every fault of the parts that no allowance decides.
func checkStart(b startBody, now time.Time) error {
	var faults []fieldFault
	add := func(field, code, message string, path ...string) {
		faults = append(faults, fieldFault{Pointer: pointer(path...), Field: field, Code: code, Message: message})
	}
	if !startPattern.MatchString(b.Start) {
		add("start", codeMalformed, "must be 1 to 128 letters, digits, dots, dashes or underscores", "start")
	}
	faults = append(faults, envFaults(b.Env)...)
	if len(b.Command) == 0 {
		add("cmd", "missing", "must name a command", "cmd")
	}
	if len(b.Command)+len(b.Args) > maxWords {
		add("args", codeAboveMax, "cmd and args may have at most 256 words", "args")
	}
	size := 0
	for _, list := range []struct {
		name  string
		words []string
	}{{"cmd", b.Command}, {"args", b.Args}} {
		for i, word := range list.words {
			size += len(word)
			if strings.ContainsRune(word, 0) {
				add(list.name, codeMalformed, "a word must not contain NUL", list.name, strconv.Itoa(i))
			}
			if len(word) > spawner.MaxStringBytes {
				add(list.name, codeAboveMax, fmt.Sprintf("word %d has %d bytes; Linux gives a program at most %d in one word", i+1, len(word), spawner.MaxStringBytes), list.name, strconv.Itoa(i))
			}
		}
	}
	if size > spawner.MaxWordsBytes {
		add("args", codeAboveMax, fmt.Sprintf("cmd and args have %d bytes together, the most is %d", size, spawner.MaxWordsBytes), "args")
	}
	faults = append(faults, sslFaults(b.SSL, now)...)
	if faults != nil {
		return &invalidStart{faults}
	}
	return nil
}

// sslFaults says nothing of what is in a key or a certificate.
func sslFaults(b *sslBody, now time.Time) []fieldFault {
	if b == nil {
		return nil
	}
	var faults []fieldFault
	for _, f := range b.pair().Faults(now) {
		code := codeMalformed
		if f.TooLarge {
			code = codeAboveMax
		}
		faults = append(faults, fieldFault{Pointer: pointer("ssl", string(f.Field)), Field: "ssl", Code: code, Message: string(f.Field) + ": " + f.Message})
	}
	return faults
}

// unfitOptions blames the choice that the namespace's own limits do not let through, if it is one.
func unfitOptions(unfit *spawner.UnfitError) *forms.Invalid {
	fault := forms.FieldError{Code: forms.NotOffered, Message: "The cluster would not take the server: " + unfit.Clause}
	switch {
	case strings.HasSuffix(unfit.Resource, forms.FieldCPU):
		fault.Field = forms.FieldCPU
	case strings.HasSuffix(unfit.Resource, forms.FieldMemory):
		fault.Field = forms.FieldMemory
	default:
		return &forms.Invalid{Fields: []forms.FieldError{fault}}
	}
	fault.Code = forms.BelowMin
	if unfit.TooMuch {
		fault.Code = forms.AboveMax
	}
	return &forms.Invalid{Fields: []forms.FieldError{fault}}
}

// startRequest turns checked choices into what the spawner is asked for. The
// options must come from forms.Check with the same allowance.
func startRequest(key spawner.Key, b startBody, a groups.Allowance, o forms.Options) (spawner.Request, error) {
	options, err := json.Marshal(o)
	if err != nil {
		return spawner.Request{}, err
	}
	image, err := channelImage(a.Images, o.Image)
	if err != nil {
		return spawner.Request{}, err
	}
	cpuRequest, memoryRequest := forms.Requests(a, o)
	env, secretEnv := environment(b.Env, a.Env, key.User)
	if faults := envSizeFaults(env); faults != nil {
		return spawner.Request{}, &invalidStart{faults}
	}
	return spawner.Request{
		Key:                  key,
		Start:                b.Start,
		Env:                  env,
		SecretEnv:            secretEnv,
		Command:              b.Command,
		Args:                 b.Args,
		SSL:                  b.SSL.pair(),
		Image:                image,
		ImageChannel:         o.Image,
		CPULimit:             o.CPU,
		CPURequest:           cpuRequest,
		MemoryLimit:          o.Memory,
		MemoryRequest:        memoryRequest,
		NodeSelector:         a.NodeSelector,
		Tolerations:          a.Tolerations,
		Affinity:             a.Affinity,
		PriorityClassName:    a.PriorityClassName,
		SchedulerName:        a.SchedulerName,
		ServiceAccountName:   a.ServiceAccountName,
		ServiceAccountTokens: a.ServiceAccountTokens,
		ImagePullSecrets:     a.ImagePullSecrets,
		Pod:                  a.Pod,
		Storage:              a.Storage,
		KernelOptions:        kernelOptions(a),
		ServersPerUser:       a.ServersPerUser,
		ServerIdleSeconds:    a.ServerIdleSeconds,
		MaxRunSeconds:        a.MaxRunSeconds,
		SnoozeMaxSeconds:     a.SnoozeMaxSeconds,
		Options:              options,
	}, nil
}

// channelImage resolves a channel's id. Hidden channels are valid for who has
// chosen them, and a redirect is only ever proposed.
func channelImage(channels []v1alpha1.ImageChannel, id string) (string, error) {
	for _, channel := range channels {
		if channel.ID == id {
			return channel.Image, nil
		}
	}
	return "", &forms.Invalid{Fields: []forms.FieldError{{Field: "image", Code: forms.NotOffered, Message: "This image is not on offer."}}}
}

func kernelOptions(a groups.Allowance) v1alpha1.KernelOptions {
	k := v1alpha1.KernelOptions{Policies: a.Policies}
	for _, group := range a.Groups {
		k.Groups = append(k.Groups, group.Name)
	}
	if seconds := a.Kernels.IdleSeconds; seconds > 0 {
		k.IdleTimeoutSeconds = &seconds
	}
	return k
}
