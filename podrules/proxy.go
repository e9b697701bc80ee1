package podrules

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Proxy is by which programs reach what is outside of the cluster: the variables that most of
// them read. The zero value is none.
type Proxy struct {
	// HTTP and HTTPS are URLs, for addresses of these schemes.
	HTTP, HTTPS string
	// NoProxy are names and addresses that are reached without it, beside those of the cluster.
	NoProxy []string
}

// IsSet reports whether there is one.
func (p Proxy) IsSet() bool { return p.HTTP != "" || p.HTTPS != "" }

// Names of the variables. Some programs read them in upper case, some in lower case.
const (
	EnvHTTPProxy  = "HTTP_PROXY"
	EnvHTTPSProxy = "HTTPS_PROXY"
	EnvAllProxy   = "ALL_PROXY"
	EnvNoProxy    = "NO_PROXY"
)

// NeverProxied are this Pod and the cluster's Services, by the names that we call them by.
func NeverProxied() []string {
	return []string{"localhost", "127.0.0.1", "::1", ".svc", ".cluster.local"}
}

// Validate returns every fault, joined.
func (p Proxy) Validate() error {
	var faults []error
	for field, address := range map[string]string{"http": p.HTTP, "https": p.HTTPS} {
		if address == "" {
			continue
		}
		u, err := url.Parse(address)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			faults = append(faults, fmt.Errorf("%s: not like http://proxy.example.org:3128", field)) // it is not said: there may be a password in it
		case u.User != nil:
			faults = append(faults, fmt.Errorf("%s: has a name or a password in it, which everybody would see: put the whole into a Secret and that into policies' env", field))
		}
	}
	if !p.IsSet() && len(p.NoProxy) > 0 {
		faults = append(faults, errors.New("noProxy: there is no proxy"))
	}
	for i, name := range p.NoProxy {
		if name == "" || strings.ContainsAny(name, ", \t\r\n") {
			faults = append(faults, fmt.Errorf("noProxy[%d]: %.50q is no name, address or block", i, name))
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

// Complete adds to the variables of a Pod the proxy's, where they are not set, and keeps what
// has any proxy from asking it for the cluster's own, and for hosts. Values are in Kubernetes'
// notation. What comes from elsewhere is left alone.
func (p Proxy) Complete(vars []corev1.EnvVar, hosts ...string) []corev1.EnvVar {
	for _, own := range []struct{ name, value string }{{EnvHTTPProxy, p.HTTP}, {EnvHTTPSProxy, p.HTTPS}} {
		if own.value != "" && !isNamed(vars, own.name) {
			vars = setBoth(vars, own.name, Literal(own.value))
		}
	}
	if !slices.ContainsFunc([]string{EnvHTTPProxy, EnvHTTPSProxy, EnvAllProxy}, func(name string) bool { return isSet(vars, name) }) {
		return vars
	}
	var direct []string
	for _, name := range bothSpellings(EnvNoProxy) {
		at := slices.IndexFunc(vars, func(v corev1.EnvVar) bool { return v.Name == name })
		if at < 0 {
			continue
		}
		if vars[at].ValueFrom != nil {
			return vars
		}
		direct = append(direct, strings.Split(vars[at].Value, ",")...)
	}
	for _, name := range slices.Concat(p.NoProxy, NeverProxied(), hosts) {
		direct = append(direct, Literal(name))
	}
	var once []string
	for _, name := range direct {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	if slices.Contains(once, "*") {
		once = []string{"*"} // some programs know it alone
	}
	return setBoth(vars, EnvNoProxy, strings.Join(once, ","))
}

// CompleteValues is Complete for variables that are plain values, beside others.
func (p Proxy) CompleteValues(env map[string]string, others []corev1.EnvVar, hosts ...string) map[string]string {
	var known []corev1.EnvVar
	for _, name := range []string{EnvHTTPProxy, EnvHTTPSProxy, EnvAllProxy, EnvNoProxy} {
		for _, spelling := range bothSpellings(name) {
			if at := slices.IndexFunc(others, func(v corev1.EnvVar) bool { return v.Name == spelling }); at >= 0 {
				known = append(known, others[at])
			} else if value, set := env[spelling]; set {
				known = append(known, corev1.EnvVar{Name: spelling, Value: Literal(value)})
			}
		}
	}
	completed := maps.Clone(env)
	if completed == nil {
		completed = map[string]string{}
	}
	for _, v := range p.Complete(known, hosts...) {
		if v.ValueFrom == nil {
			completed[v.Name] = Text(v.Value)
		}
	}
	return completed
}

// WithNoProxy adds NO_PROXY to names of variables among which a proxy's is.
func WithNoProxy(names []string) []string {
	for _, name := range names {
		switch strings.ToUpper(name) {
		case EnvHTTPProxy, EnvHTTPSProxy, EnvAllProxy:
			all := slices.Clone(names)
			for _, spelling := range bothSpellings(EnvNoProxy) {
				if !slices.Contains(all, spelling) {
					all = append(all, spelling)
				}
			}
			return all
		}
	}
	return names
}

func bothSpellings(name string) []string { return []string{name, strings.ToLower(name)} }

// isNamed reports whether somebody has said what a variable is in either spelling; that it is empty,
// say, for no proxy.
func isNamed(vars []corev1.EnvVar, name string) bool {
	return slices.ContainsFunc(vars, func(v corev1.EnvVar) bool { return slices.Contains(bothSpellings(name), v.Name) })
}

func isSet(vars []corev1.EnvVar, name string) bool {
	return slices.ContainsFunc(vars, func(v corev1.EnvVar) bool {
		return slices.Contains(bothSpellings(name), v.Name) && (v.Value != "" || v.ValueFrom != nil)
	})
}

func setBoth(vars []corev1.EnvVar, name, value string) []corev1.EnvVar {
	vars = slices.Clone(vars)
	for _, spelling := range bothSpellings(name) {
		if at := slices.IndexFunc(vars, func(v corev1.EnvVar) bool { return v.Name == spelling }); at >= 0 {
			vars[at].Value = value
		} else {
			vars = append(vars, corev1.EnvVar{Name: spelling, Value: value})
		}
	}
	return vars
}
