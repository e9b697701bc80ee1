// Package architecture holds the rules of docs/architecture.md that a
// compiler does not check.
package architecture

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/elastichub/elastichub/"

// mayImport lists, for every package, the packages of this module that it may
// import. A package that is not listed fails the test: the list is the map.
var mayImport = map[string][]string{
	"api/v1alpha1":        {},
	"api/crdschema":       {"api/kindfields", "api/v1alpha1"},
	"api/kindfields":      {"api/v1alpha1"},
	"tracing":             {"api/v1alpha1"},
	"tracing/tracingtest": {"tracing"},
	"tokens":              {},
	"tokens/bearer":       {},
	"smallfile":           {},
	"internalssl":         {},

	"internalssl/internalssltest": {"internalssl"},

	"rotation":               {"smallfile"},
	"rotation/renew":         {"api/v1alpha1", "kernels/agent/keys", "rotation"},
	"kernels/agent/keys":     {"rotation"},
	"kernels/agent/zmtp":     {},
	"kernels/slab":           {},
	"kernels/agent/remote":   {"kernels/agent/keys", "kernels/agent/protocol", "kernels/wire", "tracing", "skew"},
	"kernels/wire":           {},
	"outbound":               {"smallfile"},
	"hubclient":              {"outbound"},
	"podrules":               {"api/v1alpha1"},
	"podtrouble":             {},
	"clusterfault":           {},
	"health":                 {"api/v1alpha1", "podrules"},
	"health/healthtest":      {"api/v1alpha1"},
	"setaside":               {"api/v1alpha1"},
	"groups":                 {"api/v1alpha1", "groups/naming", "podrules"},
	"groups/naming":          {},
	"groups/file":            {"groups", "groups/naming", "smallfile"},
	"groups/hub":             {"groups", "hubclient"},
	"groups/ldap":            {"groups", "groups/naming", "outbound"},
	"groups/openid":          {"groups", "groups/naming", "outbound"},
	"groups/policyimport":    {"api/v1alpha1", "groups", "podrules"},
	"groups/policystatus":    {"api/v1alpha1", "groups", "setaside", "namespaces", "health"},
	"groups/sourcetest":      {"groups"},
	"podrules/podrulestest":  {},
	"prepull":                {"api/v1alpha1", "kernels/agent/protocol", "kernels/podspec", "podrules", "prepull/imagestate"},
	"prepull/imagestate":     {"podrules"},
	"portal":                 {"api/v1alpha1", "clusterfault", "groups", "podrules", "portal/acts", "portal/holdings", "portal/policyedit", "portal/signin", "prepull/imagestate", "usage", "usage/budgets", "web", "forms", "tracing"},
	"portal/acts":            {"api/v1alpha1"},
	"portal/gauges":          {"api/v1alpha1", "podrules", "podtrouble", "portal/holdings", "namespaces"},
	"portal/holdings":        {"api/v1alpha1", "podrules", "podtrouble"},
	"portal/policyedit":      {"api/v1alpha1", "groups", "portal/holdings"},
	"portal/signin":          {"hubclient", "outbound", "rotation"},
	"plugin":                 {"api/v1alpha1", "podtrouble", "portal/acts", "portal/holdings"},
	"plugin/consoleapi":      {},
	"python/keep":            {},
	"nbformat":               {},
	"runner":                 {"kernels/wire", "nbformat"},
	"doctor":                 {"api/v1alpha1", "groups", "kernels/devices", "podrules", "skew"},
	"doctor/gather":          {"api/v1alpha1", "charts/elastichub", "doctor", "groups", "groups/ldap", "hubclient", "outbound", "namespaces", "plugin/consoleapi", "skew"},
	"support":                {"api/v1alpha1", "doctor", "doctor/gather", "podrules"},
	"forms":                  {"api/v1alpha1", "groups"},
	"web":                    {"api/v1alpha1", "forms", "groups", "portal/holdings", "portal/policyedit", "prepull/imagestate", "usage"},
	"spawner":                {"api/v1alpha1", "clusterfault", "groups/naming", "internalssl", "podrules", "tokens", "setaside", "namespaces", "health", "podtrouble", "recheck", "tracing"},
	"spawner/probe":          {"outbound", "spawner", "api/v1alpha1", "skew"},
	"skew":                   {"charts/elastichub"},
	"spawner/signals":        {"outbound", "spawner"},
	"spawner/hubservers":     {"hubclient", "outbound", "spawner", "spawner/orphans"},
	"spawner/homes":          {"api/v1alpha1", "health", "podrules", "spawner", "spawner/orphans"},
	"spawner/homes/archive":  {},
	"spawner/orphans":        {"api/v1alpha1", "health", "podrules", "spawner"},
	"hubapi":                 {"api/v1alpha1", "clusterfault", "forms", "groups", "internalssl", "spawner", "web", "tracing", "skew"},
	"namespaces":             {"api/v1alpha1"},
	"recheck":                {},
	"backup":                 {"api/v1alpha1", "usage"},
	"removal":                {"api/v1alpha1", "namespaces", "portal/acts", "usage"},
	"mirror":                 {"outbound"},
	"release/pack":           {},
	"upgrade":                {"api/v1alpha1", "charts/elastichub", "namespaces", "skew"},
	"kernels/admission":      {"api/v1alpha1"},
	"usage":                  {},
	"usage/budgets":          {"api/v1alpha1", "usage"},
	"kernels/booking":        {"api/v1alpha1", "kernels/agent/protocol", "kernels/lifecycle", "kernels/podspec", "kernels/podstate", "usage", "usage/budgets", "namespaces"},
	"kernels":                {"kernels/agent/keys", "kernels/booking", "kernels/gateways", "kernels/lifecycle", "kernels/offers", "kernels/podspec", "kernels/queue", "podrules", "tokens", "tracing", "usage", "namespaces"},
	"kernels/languages":      {"kernels/agent/protocol"},
	"kernels/podspec":        {"api/v1alpha1", "kernels/agent/keys", "kernels/agent/protocol", "podrules", "kernels/languages", "rotation", "tracing"},
	"kernels/podstate":       {"api/v1alpha1", "kernels/agent/protocol", "kernels/podspec", "podrules", "podtrouble"},
	"kernels/lifecycle":      {"api/v1alpha1", "kernels/agent/keys", "kernels/agent/protocol", "kernels/podspec", "kernels/podstate", "podrules", "podtrouble", "recheck", "rotation", "setaside", "usage", "usage/budgets", "namespaces", "health", "tracing", "skew"},
	"kernels/devices":        {},
	"kernels/queue":          {"api/v1alpha1", "groups", "kernels/admission", "kernels/agent/keys", "kernels/agent/protocol", "kernels/devices", "kernels/lifecycle", "kernels/podspec", "kernels/podstate", "kernels/queue/warm", "podrules", "podtrouble", "setaside", "usage", "usage/budgets", "namespaces", "health", "recheck"},
	"kernels/queue/warm":     {"recheck"},
	"kernels/gateways":       {"api/v1alpha1", "kernels/agent/keys", "kernels/languages", "kernels/podspec", "podrules", "setaside", "namespaces", "health", "recheck", "tracing", "podtrouble", "skew"},
	"kernels/offers":         {"api/v1alpha1", "kernels/admission", "kernels/languages", "kernels/lifecycle", "kernels/podspec", "kernels/queue", "namespaces", "podrules", "podtrouble"},
	"kernels/agent":          {"kernels/agent/keep/keeper", "kernels/agent/keep/store", "kernels/agent/keys", "kernels/agent/protocol", "kernels/agent/zmtp", "kernels/ports", "kernels/wire", "rotation", "tracing", "skew"},
	"kernels/ports":          {},
	"kernels/gateway":        {"api/v1alpha1", "clusterfault", "kernels/agent/keys", "kernels/agent/protocol", "kernels/ports", "kernels/slab", "kernels/wire", "podrules", "rotation", "tokens", "tokens/bearer", "kernels/languages", "tracing", "skew"},
	"cmd/elastichub":         {"*"},
	"charts/demo":            {"api/v1alpha1"},
	"charts/demo/preflight":  {"doctor", "doctor/gather"},
	"charts/elastichub":      {},
	"test/architecture":      {},
	"kernels/agent/protocol": {"kernels/agent/keys", "kernels/wire", "skew"},

	"kernels/agent/runkernel":     {"kernels/agent/keep/store", "kernels/agent/protocol"},
	"kernels/agent/keep/adapters": {},
	"kernels/agent/keep/frames":   {},
	"kernels/agent/keep/keeper":   {"kernels/agent/keep/store"},
	"kernels/agent/keep/store":    {"kernels/agent/keep/frames"},
}

// httpFree are the domain packages, which know neither gin nor HTTP.
var httpFree = []string{"api/v1alpha1", "namespaces", "podrules", "podtrouble", "setaside", "groups", "groups/naming", "groups/file", "groups/ldap", "forms", "spawner", "kernels", "kernels/admission", "kernels/wire", "tokens", "kernels/podspec", "kernels/podstate", "kernels/languages", "kernels/lifecycle", "kernels/devices", "kernels/queue", "kernels/queue/warm", "kernels/gateways", "kernels/offers", "kernels/agent/keep/frames", "kernels/agent/keep/store", "kernels/agent/keep/keeper", "usage", "usage/budgets", "kernels/booking", "plugin", "portal/acts", "portal/holdings", "portal/policyedit", "doctor", "nbformat", "prepull", "prepull/imagestate", "spawner/homes", "spawner/homes/archive", "spawner/orphans"}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for name, imports := range packages(t) {
		seen[name] = true
		allowed, listed := mayImport[name]
		assert.True(t, listed, "package %s has no row in mayImport", name)
		if slices.Contains(allowed, "*") {
			continue
		}
		for _, imported := range imports {
			if own, ok := strings.CutPrefix(imported, module); ok {
				assert.Contains(t, allowed, own, "%s imports %s", name, own)
			}
		}
	}
	for name := range mayImport {
		assert.True(t, seen[name], "mayImport names %s, which does not exist", name)
	}
}

func TestDomainPackagesKnowNoHTTP(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for _, name := range httpFree {
		for _, imported := range all[name] {
			assert.NotEqual(t, "net/http", imported, name)
			assert.False(t, strings.HasPrefix(imported, "github.com/gin-gonic/"), "%s imports %s", name, imported)
		}
	}
}

// TestConfigurationIsReadInOnePlace keeps viper, flags and the environment in cmd.
func TestConfigurationIsReadInOnePlace(t *testing.T) {
	t.Parallel()
	for name, imports := range packages(t) {
		if strings.HasPrefix(name, "cmd/") {
			continue
		}
		for _, imported := range imports {
			assert.NotContains(t, []string{"flag", "github.com/spf13/viper", "github.com/spf13/cobra"}, imported, name)
		}
	}
}

func TestNoPackageIsADrawer(t *testing.T) {
	t.Parallel()
	for name := range packages(t) {
		last := name[strings.LastIndex(name, "/")+1:]
		assert.NotContains(t, []string{"util", "utils", "common", "models", "types", "helpers", "misc"}, last)
	}
}

// packages maps each package of this module, tests and internal test helpers
// apart, to what it imports.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	require.NoError(t, err)
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		if strings.Contains(name, "internal/") || strings.HasPrefix(name, "test/") && name != "test/architecture" {
			continue
		}
		all[name] = fields[1:]
	}
	require.NotEmpty(t, all)
	return all
}
