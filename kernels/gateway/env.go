package gateway

import (
	"fmt"
	"path"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/podrules"
)

const (
	// maxEnvValue is Enterprise Gateway's limit for a value, in bytes.
	maxEnvValue = 4096
	// maxEnvCount bounds how many variables one start may set.
	maxEnvCount = 128
	// maxPath is Linux's PATH_MAX.
	maxPath = 4096
)

// Variables that a client sends for the gateway rather than for the kernel.
const (
	envUsername   = "KERNEL_USERNAME"    // says nothing: identity comes from the token
	envWorkingDir = "KERNEL_WORKING_DIR" // the notebook's directory
	envKernelID   = "KERNEL_ID"          // an id the client wishes
	// envEnvironment is the directory of an environment of the user's own, absolute, in
	// whose Python the kernel is to run.
	envEnvironment = "KERNEL_OWN_ENVIRONMENT"
	// envLaunchTimeout is how long Enterprise Gateway is to wait for the kernel. Every
	// jupyter_server sends it; a warm Pod without it would be of another class.
	envLaunchTimeout = "KERNEL_LAUNCH_TIMEOUT"
)

var envName = regexp.MustCompile(`^KERNEL_[A-Za-z0-9_]{0,249}$`)

// wishes is what the environment of a start request asks for.
type wishes struct {
	env         []corev1.EnvVar // sorted by name, values in Kubernetes' notation
	workingDir  string
	kernelID    string
	environment string // not checked yet; empty: the image's own Python
}

// readEnv sorts out what a client sent. As with Enterprise Gateway, names that
// do not begin with KERNEL_ are left out, but for the session's; one that does
// and has a bad value is an error of kind Invalid.
func readEnv(env map[string]string) (wishes, error) {
	var w wishes
	if len(env) > maxEnvCount {
		return wishes{}, fail(kindInvalid, fmt.Sprintf("env has %d variables; at most %d are accepted.", len(env), maxEnvCount))
	}
	names := make([]string, 0, len(env))
	for name := range env {
		if strings.HasPrefix(name, "KERNEL_") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	// Nobody has chosen its value, so that a bad one is no reason to refuse a start.
	if session, sent := env[podrules.EnvSession]; sent && checkValue(session) == nil {
		w.env = append(w.env, corev1.EnvVar{Name: podrules.EnvSession, Value: podrules.Literal(session)})
	}
	for _, name := range names {
		value := env[name]
		if !envName.MatchString(name) {
			return wishes{}, fail(kindInvalid, fmt.Sprintf("env: %q is not a name that can be set.", clip(name, 64)))
		}
		switch name {
		case envUsername, envLaunchTimeout:
			continue
		case envWorkingDir:
			if err := checkPath(value); err != nil {
				return wishes{}, err
			}
			w.workingDir = value
			continue
		case envEnvironment:
			w.environment = value
			continue
		case envKernelID:
			id, err := parseKernelID(value)
			if err != nil {
				return wishes{}, fail(kindInvalid, "env: KERNEL_ID is not a UUID.")
			}
			w.kernelID = id
			continue
		}
		if err := checkValue(value); err != nil {
			return wishes{}, fail(kindInvalid, fmt.Sprintf("env: the value of %s %s.", name, err))
		}
		w.env = append(w.env, corev1.EnvVar{Name: name, Value: podrules.Literal(value)})
	}
	return w, nil
}

func checkValue(value string) error {
	switch {
	case len(value) > maxEnvValue:
		return fmt.Errorf("is longer than %d bytes", maxEnvValue)
	case !utf8.ValidString(value):
		return fmt.Errorf("is not UTF-8")
	case strings.ContainsAny(value, "\x00\n\r"):
		return fmt.Errorf("contains a line break or NUL")
	}
	return nil
}

// checkPath accepts clean absolute paths. That it lies below one of the
// notebook's mounts is checked by the controller, which knows them.
func checkPath(value string) error {
	if len(value) > maxPath || !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) ||
		!path.IsAbs(value) || path.Clean(value) != value {
		return fail(kindInvalid, "env: KERNEL_WORKING_DIR must be a clean absolute path.")
	}
	return nil
}

// parseKernelID accepts the canonical form of a UUID only, which is also a
// valid object name.
func parseKernelID(text string) (string, error) {
	id, err := uuid.Parse(text)
	if err != nil || id.String() != text {
		return "", errNoKernel
	}
	return text, nil
}

// clip shortens text for a message.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}
