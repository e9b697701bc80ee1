package hubapi

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner"
)

// environment is what a user's server runs with: the policy's variables and, over
// them, the Hub's, which the server cannot work without. The values of the
// second part are in Secrets that the policy names.
func environment(hub map[string]string, policy []v1alpha1.PolicyEnv, user string) (map[string]string, []corev1.EnvVar) {
	env := make(map[string]string, len(hub)+len(policy))
	var fromSecrets []corev1.EnvVar
	for _, variable := range policy {
		if from := variable.ValueFrom; from == nil {
			env[variable.Name] = variable.For(user)
		} else if _, ours := hub[variable.Name]; !ours {
			fromSecrets = append(fromSecrets, corev1.EnvVar{Name: variable.Name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: from.SecretKeyRef.DeepCopy()}})
		}
	}
	maps.Copy(env, hub)
	return env, fromSecrets
}

// envFaults are those of a Hub's variables, each with the name of the variable: whoever
// reads it has set them somewhere in a configuration.
func envFaults(env map[string]string) []fieldFault {
	var faults []fieldFault
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !envPattern.MatchString(name) {
			faults = append(faults, variableFault(name, codeMalformed, "the name of a variable must be a letter or underscore, then letters, digits, dots, dashes or underscores, at most 253 in all"))
		}
		if strings.ContainsRune(env[name], 0) {
			faults = append(faults, variableFault(name, codeMalformed, "a value must not contain NUL"))
		}
	}
	return append(faults, envSizeFaults(env)...)
}

// envSizeFaults are the variables that no program could be started with.
func envSizeFaults(env map[string]string) []fieldFault {
	var faults []fieldFault
	all, largest := 0, ""
	size := func(name string) int { return len(name) + len("=") + len(env[name]) }
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all += size(name) - len("=")
		if largest == "" || size(name) > size(largest) {
			largest = name
		}
		if size(name) > spawner.MaxStringBytes {
			faults = append(faults, variableFault(name, codeAboveMax, fmt.Sprintf("has %d bytes with its name; Linux gives a program at most %d in one variable", size(name), spawner.MaxStringBytes)))
		}
	}
	if all > spawner.MaxEnvBytes {
		faults = append(faults, fieldFault{Pointer: pointer("env"), Field: "env", Code: codeAboveMax, Message: fmt.Sprintf(
			"the variables have %d bytes together, the most is %d; the largest is %s with %d", all, spawner.MaxEnvBytes, readable(largest), size(largest))})
	}
	return faults
}

func variableFault(name, code, message string) fieldFault {
	return fieldFault{Pointer: pointer("env", name), Field: "env", Code: code, Message: readable(name) + ": " + message}
}

// maxShownName bounds what a variable's name takes of a message.
const maxShownName = 100

// readable is a variable's name as it may stand in a sentence.
func readable(name string) string {
	if len(name) > maxShownName {
		name = strings.ToValidUTF8(name[:maxShownName], "") + "…"
	}
	if envPattern.MatchString(name) {
		return name
	}
	return strconv.Quote(name)
}
