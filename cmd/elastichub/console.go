package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/signin"
	hours "github.com/elastichub/elastichub/usage"
)

// portalConfig is the console's: of its rooms, whose fields are the keys, and whether
// there is one.
type portalConfig struct {
	Enabled  bool
	SignIn   signin.Config `mapstructure:",squash"`
	Admins   portal.Admins
	Policies portal.PolicySettings
	// KubernetesTokens: accounts of Kubernetes may call the API by their tokens.
	KubernetesTokens bool
	// Prices of an hour are a list, not a map, since viper takes a point in a key for a path.
	Prices   []priceConfig
	Currency string
}

// priceConfig is what an hour of one unit of a resource costs.
type priceConfig struct {
	Resource string
	PerHour  float64
}

func defaultPortalConfig() portalConfig {
	config := portalConfig{SignIn: signin.DefaultConfig(), KubernetesTokens: true}
	config.SignIn.KeyFile, config.SignIn.FormerKeyFile = "/etc/elastichub/portal/key", "/etc/elastichub/portal/former"
	return config
}

// handler is the configuration of the package portal.
func (c portalConfig) handler(namespace string) portal.Config {
	config := portal.DefaultConfig()
	config.Namespace, config.BasePath, config.Admins, config.Policies = namespace, c.SignIn.BasePath, c.Admins, c.Policies
	config.Currency, config.Prices, config.APIOnly = c.Currency, hours.Prices{}, c.SignIn.Provider == signin.ProviderNone
	for _, price := range c.Prices {
		config.Prices[price.Resource] = price.PerHour
	}
	return config
}

// validate returns all faults, each with its dotted path.
func (c portalConfig) validate(namespace string, hub hubclient.Config) []error {
	if !c.Enabled {
		return nil
	}
	faults := prefixed("portal.", c.SignIn.Validate())
	if namespace != "" && c.SignIn.BasePath != "" {
		faults = append(faults, prefixed("portal.", c.handler(namespace).Validate())...)
	}
	if c.SignIn.Provider == signin.ProviderNone && !c.KubernetesTokens && hub.APIURL == "" {
		faults = append(faults, errors.New("portal.kubernetesTokens: required with the provider none and without hub.apiURL: nobody else could come in"))
	}
	if c.SignIn.Provider == signin.ProviderHub && hub.APIURL == "" {
		faults = append(faults, prefixed("hub.", hub.Validate())...)
	}
	return faults
}

// prefixed puts a path before every line of joined errors.
func prefixed(path string, joined error) []error {
	if joined == nil {
		return nil
	}
	var faults []error
	for line := range strings.Lines(joined.Error()) {
		faults = append(faults, errors.New(path+strings.TrimSuffix(line, "\n")))
	}
	return faults
}

// console is the handler for people, and what ends its connections.
type console struct {
	*portal.Portal
	close func()
	// sealed is the mark of the keys of cookies.
	sealed func() string
}

// newConsole opens the console. hub is nil where none is configured.
func newConsole(config serveConfig, hub *hubclient.Client, members *directories, allowances *groups.Service, kubernetes client.Client, live client.Reader, lent catalogue, images portal.ImageLister, logs portal.LogReader, accounts *signin.Accounts, log *slog.Logger, registry prometheus.Registerer) (*console, error) {
	c := &console{}
	ledger := hours.Store{Reader: live, Namespace: config.Namespace, Name: config.Usage.ConfigMaps}
	gate, err := signin.New(config.Portal.SignIn, hub, accounts, time.Now)
	if err != nil {
		return nil, fmt.Errorf("portal: %w", err)
	}
	c.close, c.sealed = gate.Close, gate.Mark
	c.Portal, err = portal.New(config.Portal.handler(config.Namespace), portal.Dependencies{
		Gate: gate, Members: members, Client: kubernetes, Live: live, Logs: logs, Log: log, Metrics: registry, Now: time.Now,
		Directory: members.listers, Explain: allowances.Explain, Lender: lent,
		Capacity: capacityOf(lent.kernels), Images: images,
		Returns: func(ctx context.Context, kernel string) ([]holdings.Choice, error) {
			offers, err := lent.kernels.Returns(ctx, kernel)
			choices := make([]holdings.Choice, len(offers))
			for i, o := range offers {
				choices[i] = holdings.Choice{Name: o.Name, Title: cmp.Or(o.DisplayName, o.Name), Devices: o.Extended}
			}
			return choices, err
		},
		Books: func(ctx context.Context) ([]*hours.Book, error) {
			saved, err := ledger.Read(ctx)
			if err != nil {
				return nil, err
			}
			return saved.All(), nil
		},
	})
	if err != nil {
		c.close()
		return nil, fmt.Errorf("portal: %w", err)
	}
	return c, nil
}

// serving leads what the Hub and the kubelet call to the Hub API, what is below the
// console's path to the console, and all else to the Hub API, which refuses it.
func serving(api http.Handler, people *console) http.Handler {
	if people == nil {
		return api
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case path == "/healthz", path == "/readyz", path == hubapi.Prefix, strings.HasPrefix(path, hubapi.Prefix+"/"), !people.Serves(r):
			api.ServeHTTP(w, r)
		default:
			people.ServeHTTP(w, r)
		}
	})
}
