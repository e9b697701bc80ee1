package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/queue"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/spawner/homes"
	"github.com/elastichub/elastichub/spawner/orphans"
	"github.com/elastichub/elastichub/spawner/signals"
	"github.com/elastichub/elastichub/tracing"
)

// envPrefix begins the name of every environment variable that overrides a
// key of the configuration file: groups.ldap.baseDN is ELASTICHUB_GROUPS_LDAP_BASEDN.
const envPrefix = "ELASTICHUB"

// serveConfig is the configuration of `elastichub serve`. The packages get
// their own structs, made from it in serve.go.
type serveConfig struct {
	// Namespace is the release's: of policies, the ledger and the Hub's servers.
	Namespace string
	// WatchNamespaces are others whose kinds are looked after, too; "*" is all.
	WatchNamespaces []string
	Log             logConfig
	// Tracing is where spans are sent; gateways are told.
	Tracing tracing.Config
	// Proxy is by which notebooks and kernels reach what is outside. The service itself has
	// it in its environment.
	Proxy     podrules.Proxy
	HubAPI    hubAPIConfig `mapstructure:"hubAPI"`
	Metrics   metricsConfig
	Signing   signingConfig
	Groups    groupsConfig
	Policies  policiesConfig
	Notebooks notebooksConfig
	Kernels   kernelsConfig
	Usage     usageConfig
	// Hub is where the Hub's REST API is, for the console, and for the Hub's servers, which
	// are stopped and started through it.
	Hub    hubclient.Config
	Portal portalConfig
	// Orphans are servers that the Hub does not know.
	Orphans orphansConfig
	// Homes of people who left.
	Homes homesConfig
	// Prometheus is asked before a server is stopped for idleness.
	Prometheus signals.Config
	Prepull    prepullConfig
}

// orphansConfig says what becomes of servers that the Hub does not know.
type orphansConfig struct {
	Mode  orphans.Mode
	Grace time.Duration
}

// in is what the orphans of a namespace are looked for by.
func (c orphansConfig) in(namespace string) orphans.Config {
	return orphans.Config{Namespace: namespace, Mode: c.Mode, Grace: c.Grace}
}

// homesConfig says what becomes of homes.
type homesConfig struct{ Left leftConfig }

// leftConfig is of homes of people whom the Hub or the directory does not know any more.
type leftConfig struct {
	Mode        homes.Mode
	Grace       time.Duration
	MostPercent int
	Archive     archiveConfig
}

// archiveConfig is where homes are archived, with mode archive.
type archiveConfig struct{ Claim string }

// homesLeft is what homes of a namespace are looked for by.
func (c serveConfig) homesLeft(namespace string) homes.Config {
	return homes.Config{
		Namespace: namespace, Mode: c.Homes.Left.Mode, Grace: c.Homes.Left.Grace, MostPercent: c.Homes.Left.MostPercent,
		ArchiveClaim: c.Homes.Left.Archive.Claim, Image: c.Kernels.ServiceImage,
		PullPolicy: corev1.PullPolicy(c.Kernels.PullPolicy), PullSecrets: c.Prepull.PullSecrets,
	}
}

// usageConfig is of the ledger of hours.
type usageConfig struct {
	// ConfigMaps is what the names of those begin with in which it is.
	ConfigMaps string
}

type metricsConfig struct {
	Listen string
	// TokenFile holds what whoever reads the service's metrics has to show; empty: nothing.
	TokenFile string
	// TokenSecret names the Secret with the same token, for gateways to mount.
	TokenSecret string
}

type hubAPIConfig struct {
	Listen string
	// TokenFile holds what the Hub has to show; empty: there is no Hub, and nobody is let in.
	TokenFile string
}

type signingConfig struct {
	SeedFile string
}

type policiesConfig struct {
	// Matching says what happens when several policies match: priority or union.
	Matching groups.Matching
}

type notebooksConfig struct {
	Image      string
	PullPolicy string
	// ImageMap says which images are replaced; to nothing means to Image.
	ImageMap []podrules.ImageRule
	// Gateway is the JupyterGateway of the Hub's servers; empty: none.
	Gateway string
	// AdoptHomesBefore is RFC 3339, or empty.
	AdoptHomesBefore string
	// MetricsSecret has, as sha256, the hash of the token that opens servers' metrics; empty: none does.
	MetricsSecret string
}

type kernelsConfig struct {
	// ServiceImage holds this binary: gateways run it, kernel Pods copy their agent from it.
	ServiceImage string
	Image        string
	PullPolicy   string
	// ImageMap is as that of notebooks.
	ImageMap           []podrules.ImageRule
	IdleTimeoutSeconds int64
	// MaxRunSeconds bounds one Pod of a kernel where no policy does; 0: for ever.
	MaxRunSeconds int64
	// BusyCPU is in cores.
	BusyCPU float64 `mapstructure:"busyCPU"`
	// BusyGPU is in percent.
	BusyGPU         float64 `mapstructure:"busyGPU"`
	ClusterCapacity bool
	// NodePools are those that an autoscaler adds nodes to.
	NodePools []nodePoolConfig
	// DoNotDisrupt asks autoscalers to leave the nodes of kernels alone.
	DoNotDisrupt bool
	// HubEnvironment names variables of c.Spawner.environment that kernels have, too.
	HubEnvironment []string
	Keep           keepConfig
}

// nodePoolConfig is a set of nodes that grows. Labels are a list, not a map, since
// viper takes a point in a key for a path.
type nodePoolConfig struct {
	Name      string
	Labels    []labelConfig
	Taints    []taintConfig
	Resources []countConfig
	MaxNodes  int
}

type labelConfig struct{ Key, Value string }

type taintConfig struct{ Key, Value, Effect string }

type countConfig struct {
	Name  string
	Count int64
}

// nodePools are the configured ones as the queue has them.
func (c kernelsConfig) nodePools() []queue.NodePool {
	pools := make([]queue.NodePool, 0, len(c.NodePools))
	for _, from := range c.NodePools {
		p := queue.NodePool{Name: from.Name, Labels: map[string]string{}, Resources: admission.Resources{}, MaxNodes: from.MaxNodes}
		for _, label := range from.Labels {
			p.Labels[label.Key] = label.Value
		}
		for _, taint := range from.Taints {
			p.Taints = append(p.Taints, corev1.Taint{Key: taint.Key, Value: taint.Value, Effect: corev1.TaintEffect(taint.Effect)})
		}
		for _, resource := range from.Resources {
			p.Resources[resource.Name] = resource.Count
		}
		pools = append(pools, p)
	}
	return pools
}

// keepConfig is how the states of parked kernels are kept, where neither a gateway
// nor a policy says anything.
type keepConfig struct {
	Enabled bool
	// IdleSeconds after which a kernel is parked if all of its state is kept; 0: not
	// before its idle time is over.
	IdleSeconds int64
	MaxBytes    string        // a quantity of Kubernetes; 0: any number
	TTL         time.Duration `mapstructure:"ttl"`
	// SeedFile holds 32 bytes in base64; empty: no state is ever kept.
	SeedFile string
}

var (
	hubVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,252}$`)
	// reservedVariable: tokens are among the Hub's own, and the others are ours or the client's.
	reservedVariable = regexp.MustCompile(`^(JUPYTERHUB|JUPYTER|JPY|ELASTICHUB|KERNEL)_`)
)

// mostBusyCPU is more cores than any machine has.
const mostBusyCPU = 4096

func defaultServeConfig() serveConfig {
	return serveConfig{
		Log:       logConfig{Level: "info", Format: "json"},
		Tracing:   tracing.Config{SamplePercent: 100},
		HubAPI:    hubAPIConfig{Listen: ":8080", TokenFile: "/etc/elastichub/hub/token"},
		Metrics:   metricsConfig{Listen: ":9090"},
		Signing:   signingConfig{SeedFile: "/etc/elastichub/signing/seed"},
		Groups:    defaultGroupsConfig(),
		Policies:  policiesConfig{Matching: groups.MatchPriority},
		Notebooks: notebooksConfig{Gateway: "default"},
		Kernels: kernelsConfig{IdleTimeoutSeconds: 3600, BusyCPU: 0.05, BusyGPU: 5, MaxRunSeconds: 7 * 24 * 3600, ClusterCapacity: true, DoNotDisrupt: true,
			Keep: keepConfig{IdleSeconds: 300, MaxBytes: "8Gi", TTL: 7 * 24 * time.Hour}},
		Usage:   usageConfig{ConfigMaps: "elastichub-usage"},
		Hub:     hubclient.Config{Timeout: 3 * time.Second},
		Portal:  defaultPortalConfig(),
		Orphans: orphansConfig{Mode: orphans.Report, Grace: 24 * time.Hour},
		Homes:   homesConfig{Left: leftConfig{Mode: homes.Report, Grace: 30 * 24 * time.Hour, MostPercent: 10}},

		Prepull: prepullConfig{Name: "elastichub", Kernels: true, NodesAtOnce: 5},

		Prometheus: signals.Config{Timeout: 5 * time.Second, Window: 2 * time.Minute},
	}
}

// loadServeConfig reads the file, then the environment over it. A key or a
// variable that does not exist, or a value that does not parse, is an error,
// and all of them are reported at once.
func loadServeConfig(file string, environ []string) (serveConfig, error) {
	config := defaultServeConfig()
	defaults := map[string]any{}
	if err := mapstructure.Decode(config, &defaults); err != nil {
		return serveConfig{}, fmt.Errorf("configuration: %w", err)
	}
	v := viper.New()
	keys := setDefaults(v, "", defaults)
	if file != "" {
		v.SetConfigFile(file)
		v.SetConfigType("yaml")
		if err := v.ReadInConfig(); err != nil {
			return serveConfig{}, fmt.Errorf("configuration file %s: %w", file, err)
		}
	}
	if err := applyEnvironment(v, keys, environ); err != nil {
		return serveConfig{}, err
	}
	if err := v.UnmarshalExact(&config, viper.DecodeHook(mapstructure.ComposeDecodeHookFunc(
		strictDuration, mapstructure.StringToSliceHookFunc(","),
	))); err != nil {
		return serveConfig{}, fmt.Errorf("configuration: %w", err)
	}
	if err := config.validate(); err != nil {
		return serveConfig{}, fmt.Errorf("configuration:\n%w", err)
	}
	return config, nil
}

// setDefaults tells viper every key there is, and returns them.
func setDefaults(v *viper.Viper, prefix string, values map[string]any) []string {
	var keys []string
	for name, value := range values {
		key := prefix + name
		if nested, ok := value.(map[string]any); ok {
			keys = append(keys, setDefaults(v, key+".", nested)...)
			continue
		}
		v.SetDefault(key, value)
		keys = append(keys, key)
	}
	return keys
}

func applyEnvironment(v *viper.Viper, keys, environ []string) error {
	byVariable := map[string]string{}
	for _, key := range keys {
		byVariable[envPrefix+"_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = key
	}
	var faults []error
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix+"_") || strings.HasPrefix(name, envPrefix+"_DEMO_") {
			continue // make env exports those of the demo
		}
		key, ok := byVariable[name]
		if !ok {
			faults = append(faults, fmt.Errorf("environment variable %s: there is no such setting", name))
			continue
		}
		v.Set(key, value)
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

// strictDuration takes "90s" and refuses bare numbers, whose unit nobody can tell.
func strictDuration(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() || from == to {
		return value, nil
	}
	text, ok := value.(string)
	if !ok {
		return nil, fmt.Errorf("%v is not a duration such as 90s", value)
	}
	return time.ParseDuration(text)
}

// validate returns all faults, each with its dotted path.
func (c serveConfig) validate() error {
	faults := append(c.Log.validate(), prefixed("", c.Tracing.Validate())...)
	require := func(path, value string) {
		if value == "" {
			faults = append(faults, fmt.Errorf("%s: required", path))
		}
	}
	faults = append(faults, prefixed("proxy.", c.Proxy.Validate())...)
	require("namespace", c.Namespace)
	if _, err := namespaces.New(c.Namespace, c.WatchNamespaces); err != nil {
		faults = append(faults, fmt.Errorf("watchNamespaces: %w", err))
	}
	require("hubAPI.listen", c.HubAPI.Listen)
	require("metrics.listen", c.Metrics.Listen)
	if (c.Metrics.TokenFile == "") != (c.Metrics.TokenSecret == "") {
		faults = append(faults, errors.New("metrics.tokenFile: it and metrics.tokenSecret go together, or one of the two would be open"))
	}
	require("signing.seedFile", c.Signing.SeedFile)
	require("notebooks.image", c.Notebooks.Image)
	require("kernels.serviceImage", c.Kernels.ServiceImage)
	require("kernels.image", c.Kernels.Image)
	if found := append(validation.IsDNS1123Subdomain(c.Usage.ConfigMaps), validation.IsValidLabelValue(c.Usage.ConfigMaps)...); len(found) > 0 {
		faults = append(faults, fmt.Errorf("usage.configMaps: %q begins no name: %s", c.Usage.ConfigMaps, strings.Join(found, "; ")))
	}
	if err := c.Orphans.in(c.Namespace).Validate(); err != nil {
		faults = append(faults, fmt.Errorf("orphans.%w", err))
	}
	if err := c.homesLeft(c.Namespace).Validate(); err != nil {
		faults = append(faults, fmt.Errorf("homes.left.%w", err))
	}
	if q, err := resource.ParseQuantity(c.Kernels.Keep.MaxBytes); err != nil || q.Sign() < 0 {
		faults = append(faults, fmt.Errorf("kernels.keep.maxBytes: %q is no amount of bytes", c.Kernels.Keep.MaxBytes))
	}
	if c.Kernels.Keep.TTL <= 0 {
		faults = append(faults, fmt.Errorf("kernels.keep.ttl: %v is not positive", c.Kernels.Keep.TTL))
	}
	if c.Kernels.Keep.Enabled && c.Kernels.Keep.SeedFile == "" {
		faults = append(faults, errors.New("kernels.keep.seedFile: is needed where states are kept"))
	}
	if !(c.Kernels.BusyCPU >= 0 && c.Kernels.BusyCPU <= mostBusyCPU) { // NaN is neither
		faults = append(faults, fmt.Errorf("kernels.busyCPU: %v is not between 0 and %d", c.Kernels.BusyCPU, mostBusyCPU))
	}
	for _, name := range c.Kernels.HubEnvironment {
		if !hubVariable.MatchString(name) || reservedVariable.MatchString(name) {
			faults = append(faults, fmt.Errorf("kernels.hubEnvironment: %q is no variable that kernels may have from the Hub's configuration", name))
		}
	}
	if !(c.Kernels.BusyGPU >= 0 && c.Kernels.BusyGPU <= 100) {
		faults = append(faults, fmt.Errorf("kernels.busyGPU: %v is not between 0 and 100", c.Kernels.BusyGPU))
	}
	if c.Notebooks.MetricsSecret != "" {
		for _, reason := range validation.IsDNS1123Subdomain(c.Notebooks.MetricsSecret) {
			faults = append(faults, fmt.Errorf("notebooks.metricsSecret: %s", reason))
		}
	}
	faults = append(faults, prefixed("prepull.", c.prepull(podspec.Config{}).Validate())...)
	faults = append(faults, prefixed("prometheus.", c.Prometheus.Validate())...)
	if _, err := c.Notebooks.adoptBefore(); err != nil {
		faults = append(faults, fmt.Errorf("notebooks.adoptHomesBefore: %q is not a time such as 2026-11-28T00:00:00Z", c.Notebooks.AdoptHomesBefore))
	}
	for path, policy := range map[string]string{
		"notebooks.pullPolicy": c.Notebooks.PullPolicy, "kernels.pullPolicy": c.Kernels.PullPolicy,
	} {
		if !podrules.IsPullPolicy(corev1.PullPolicy(policy)) {
			faults = append(faults, fmt.Errorf("%s: %q is not one of Always, IfNotPresent, Never, and not empty", path, policy))
		}
	}
	for path, images := range map[string]podrules.ImageMap{
		"notebooks.imageMap": imageMap(c.Notebooks.ImageMap, c.Notebooks.Image), "kernels.imageMap": imageMap(c.Kernels.ImageMap, c.Kernels.Image),
	} {
		if err := images.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("%s%w", path, err))
		}
	}
	if err := queue.ValidatePools("kernels.nodePools", c.Kernels.nodePools()); err != nil {
		faults = append(faults, err)
	}
	if len(c.Kernels.NodePools) > 0 && !c.Kernels.ClusterCapacity {
		faults = append(faults, errors.New("kernels.nodePools: needs kernels.clusterCapacity, without which nodes are not counted"))
	}
	if c.Kernels.MaxRunSeconds < 0 {
		faults = append(faults, fmt.Errorf("kernels.maxRunSeconds: %d is negative", c.Kernels.MaxRunSeconds))
	}
	faults = append(faults, c.Groups.validate()...)
	faults = append(faults, c.Portal.validate(c.Namespace, c.Hub)...)
	if c.Hub.APIURL != "" {
		faults = append(faults, prefixed("hub.", c.Hub.Validate())...)
	}
	if err := c.Policies.Matching.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("policies.matching: %w", err))
	}
	return errors.Join(faults...)
}

// imageMap has the section's own image where a rule names none.
func imageMap(rules []podrules.ImageRule, image string) podrules.ImageMap {
	all := make(podrules.ImageMap, 0, len(rules))
	for _, rule := range rules {
		all = append(all, podrules.ImageRule{From: rule.From, To: cmp.Or(rule.To, image)})
	}
	return all
}

// adoptBefore is the zero time where nothing is said.
func (c notebooksConfig) adoptBefore() (time.Time, error) {
	if c.AdoptHomesBefore == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, c.AdoptHomesBefore)
}

// readSecret reads a mounted secret without the white space around it.
func readSecret(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(raw))
	if text == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return text, nil
}
