package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/policystatus"
	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/hubclient"
	"github.com/elastichub/elastichub/kernels"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/agent/remote"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/queue"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/portal"
	"github.com/elastichub/elastichub/portal/signin"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/homes"
	"github.com/elastichub/elastichub/spawner/hubservers"
	"github.com/elastichub/elastichub/spawner/orphans"
	"github.com/elastichub/elastichub/spawner/probe"
	"github.com/elastichub/elastichub/spawner/signals"
	"github.com/elastichub/elastichub/tokens/bearer"
)

// drainTime is how long requests in flight have to end; the chart's
// terminationGracePeriodSeconds is longer.
const drainTime = 10 * time.Second

func serveCommand() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the service that JupyterHub drives: Hub API on every replica, controllers on the leader",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := loadServeConfig(file, os.Environ())
			if err != nil {
				return err
			}
			return serve(cmd.Context(), config)
		},
	}
	command.Flags().StringVar(&file, "config", "", "configuration file, YAML")
	return command
}

func serve(ctx context.Context, config serveConfig) error {
	log := config.Log.logger(ctx, os.Stdout)
	slog.SetDefault(log)
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	log.Info("starting", "version", buildVersion(), "namespace", config.Namespace, "memory", limitMemory(controlGroup))

	read, err := openSecrets(config, log)
	if err != nil {
		return err
	}
	issuer := read.issuer
	if read.hub == nil {
		log.Info("without JupyterHub: there is no token for it, and the Hub API refuses everybody")
	}
	if len(config.Groups.configured()) == 0 {
		log.Info("no source of groups is configured: policies count for no user")
	}
	scope, err := namespaces.New(config.Namespace, config.WatchNamespaces)
	if err != nil {
		return fmt.Errorf("watchNamespaces: %w", err)
	}
	mgr, err := newManager(config, scope)
	if err != nil {
		return err
	}
	if err := mgr.Add(read); err != nil {
		return err
	}
	owner := namespaces.NewOwner(scope, mgr.GetClient(), mgr.GetAPIReader(), time.Now)
	if err := mgr.Add(owner); err != nil {
		return err
	}
	registry := metrics.Registry
	if err := tellVersion(registry, partService); err != nil {
		return err
	}
	tracer, err := startTracing(mgr, config.Tracing, log)
	if err != nil {
		return err
	}
	seen := skew.NewSeen(skew.Service, skew.HubProtocol, time.Now)

	members, err := newDirectories(config.Groups, registry)
	if err != nil {
		return err
	}
	defer members.Close()
	allowances := groups.NewService(members, policyLister{mgr.GetClient(), config.Namespace}, config.Policies.Matching, members.signInReceivers...)

	adoptBefore, err := config.Notebooks.adoptBefore()
	if err != nil {
		return fmt.Errorf("notebooks.adoptHomesBefore: %w", err)
	}
	audiences, err := apiAudiences(mgr.GetConfig())
	if err != nil {
		return err
	}
	if len(audiences) == 0 {
		log.Warn("the audiences of the API server are not known: it is known by its usual names alone")
	}
	spawnerConfig := spawner.Config{
		Namespace:        config.Namespace,
		Scope:            scope,
		Owner:            owner,
		DefaultImage:     config.Notebooks.Image,
		Images:           imageMap(config.Notebooks.ImageMap, config.Notebooks.Image),
		ImagePullPolicy:  corev1.PullPolicy(config.Notebooks.PullPolicy),
		GatewayName:      config.Notebooks.Gateway,
		AdoptHomesBefore: adoptBefore,
		APIAudiences:     audiences,
		SignalsRequired:  config.Prometheus.Required,
		MetricsSecret:    config.Notebooks.MetricsSecret,
		Tracer:           tracer,
		Proxy:            config.Proxy,
		IPv6:             hasIPv6Services(os.Getenv),
	}
	if config.Prometheus.URL != "" {
		measured, err := signals.New(config.Prometheus, registry)
		if err != nil {
			return fmt.Errorf("prometheus: %w", err)
		}
		defer measured.Close()
		spawnerConfig.Signals = measured
	}
	hub, err := openHub(config.Hub, registry)
	if err != nil {
		return err
	}
	var throughHub spawner.Hub
	if hub != nil {
		defer hub.Close()
		throughHub = hubservers.New(hub)
	}
	var listing orphans.Hub
	if hub != nil {
		listing = hubservers.New(hub)
	}
	if err := orphans.SetupWithManager(mgr, config.Orphans.in(config.Namespace), listing, registry); err != nil {
		return err
	}
	if err := homes.SetupWithManager(mgr, config.homesLeft(config.Namespace), homeSources(config, members, listing), registry); err != nil {
		return err
	}
	if err := policystatus.SetupWithManager(mgr, scope); err != nil {
		return err
	}
	// Groups that only a sign-in tells cannot be asked for when a kernel starts.
	var asked queue.Allowances
	if len(members.signInReceivers) == 0 {
		asked = allowances
	}
	pods := podspec.Config{
		Image:           config.Kernels.ServiceImage,
		ImagePullPolicy: corev1.PullPolicy(config.Kernels.PullPolicy),
		KernelImage:     config.Kernels.Image,
		Images:          imageMap(config.Kernels.ImageMap, config.Kernels.Image),
		IdleSeconds:     config.Kernels.IdleTimeoutSeconds,
		MaxRunSeconds:   config.Kernels.MaxRunSeconds,
		BusyCPU:         config.Kernels.BusyCPU,
		BusyGPU:         config.Kernels.BusyGPU,
		DoNotDisrupt:    config.Kernels.DoNotDisrupt,
		HubEnvironment:  podrules.WithNoProxy(config.Kernels.HubEnvironment),
		Proxy:           config.Proxy,
		APIAudiences:    audiences,
		Keep:            config.Kernels.Keep.podspec(),
	}
	offers, err := kernels.SetupWithManager(mgr, kernels.Config{
		Namespace: config.Namespace, Scope: scope, Owner: owner,
		Pods:            pods,
		KeepSeeds:       read.keepSeeds(),
		Tokens:          issuer,
		MetricsToken:    config.Metrics.TokenSecret,
		PullSecrets:     config.Prepull.PullSecrets,
		ClusterCapacity: config.Kernels.ClusterCapacity,
		NodePools:       config.Kernels.nodePools(),
		Allowances:      asked,
		Ledger:          config.Usage.ConfigMaps,
		Tracer:          tracer,
		Tracing:         config.Tracing,
	}, remote.NewCaller(protocol.Port, seen), registry)
	if err != nil {
		return fmt.Errorf("kernels: %w", err)
	}
	spawnerConfig.Nodes = offers
	asker, err := probe.New()
	if err != nil {
		return err
	}
	servers, err := spawner.NewService(ctx, spawnerConfig, mgr.GetClient(), mgr.GetAPIReader(), mgr.GetCache())
	if err != nil {
		return fmt.Errorf("notebooks: %w", err)
	}
	if err := servers.SetupWithManager(mgr, issuer, asker, throughHub, registry); err != nil {
		return fmt.Errorf("notebooks: %w", err)
	}
	if err := registerGauges(mgr, scope, offers, log, registry); err != nil {
		return err
	}
	images, err := startPrepull(mgr, config.prepull(pods), config.Kernels.ClusterCapacity, offers, registry)
	if err != nil {
		return err
	}

	lent := catalogue{kernels: offers, gateway: config.Notebooks.Gateway, standings: newStandings(config, mgr.GetClient(), mgr.GetAPIReader())}
	apiConfig := hubapi.DefaultConfig()
	apiConfig.Tokens = read.hubTokens()
	api, err := hubapi.New(apiConfig, hubapi.Dependencies{
		Allowances: allowances,
		Servers:    servers,
		Cluster:    lent,
		Ready: func() error {
			_, err := servers.States(ctx)
			return err
		},
		Log:     log,
		Metrics: registry,
		Tracer:  tracer,
		Seen:    seen,
	})
	if err != nil {
		return err
	}
	server := hubapi.NewServer(api)
	var sealed func() string
	if config.Portal.Enabled {
		logs, err := portal.PodLogs(mgr.GetConfig(), config.Namespace)
		if err != nil {
			return fmt.Errorf("portal: logs of Pods: %w", err)
		}
		var accounts *signin.Accounts
		if config.Portal.KubernetesTokens {
			if accounts, err = signin.NewAccounts(mgr.GetConfig(), config.Namespace, time.Now); err != nil {
				return fmt.Errorf("portal: tokens of Kubernetes: %w", err)
			}
		}
		people, err := newConsole(config, hub, members, allowances, mgr.GetClient(), mgr.GetAPIReader(), lent, images, logs, accounts, log, registry)
		if err != nil {
			return err
		}
		defer people.close()
		server.RegisterOnShutdown(people.Drain)
		server.Handler = serving(api, people)
		if config.Portal.SignIn.KeyFile != "" && config.Portal.SignIn.Provider != signin.ProviderNone {
			sealed = people.sealed
		}
	}
	server.Handler = withMarks(read.marks(sealed), seen, server.Handler)
	if err := mgr.Add(&httpServer{listen: config.HubAPI.Listen, server: server, log: log}); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// openHub returns nil where no Hub is configured.
func openHub(config hubclient.Config, registry prometheus.Registerer) (*hubclient.Client, error) {
	if config.APIURL == "" {
		return nil, nil
	}
	hub, err := hubclient.New(config)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if err := hub.Register(registry); err != nil {
		hub.Close()
		return nil, err
	}
	return hub, nil
}

func newManager(config serveConfig, scope *namespaces.Scope) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	cluster, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	// The API server has priority and fairness of its own; a limit of this side would be the bottleneck
	// of a busy morning, and fail requests rather than have them wait.
	cluster.QPS = -1
	scraped, err := metricsOptions(config.Metrics)
	if err != nil {
		return nil, err
	}
	return ctrl.NewManager(cluster, ctrl.Options{
		Scheme:   scheme,
		Cache:    scope.Cache(),
		NewCache: scope.NewCache,
		// Secrets are read by name, from the API server: those of a whole cluster may not be listed.
		Client:                        client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Metrics:                       scraped,
		LeaderElection:                true,
		LeaderElectionID:              "elastichub-controllers",
		LeaderElectionNamespace:       config.Namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       new(drainTime + time.Second),
	})
}

// metricsOptions ask for the token, if there is one.
func metricsOptions(config metricsConfig) (metricsserver.Options, error) {
	options := metricsserver.Options{BindAddress: config.Listen}
	if config.TokenFile == "" {
		return options, nil
	}
	if _, err := bearer.Read(config.TokenFile); err != nil {
		return metricsserver.Options{}, fmt.Errorf("metrics.tokenFile: %w", err)
	}
	options.FilterProvider = func(*rest.Config, *http.Client) (metricsserver.Filter, error) {
		return func(_ logr.Logger, metrics http.Handler) (http.Handler, error) {
			return bearer.Require(config.TokenFile, metrics), nil
		}, nil
	}
	return options, nil
}

func (c keepConfig) podspec() podspec.Keep {
	bytes := resource.MustParse(c.MaxBytes) // was validated
	return podspec.Keep{Enabled: c.Enabled, IdleSeconds: c.IdleSeconds, MaxBytes: bytes.Value(), TTL: c.TTL}
}

// policyLister reads the policies from the informer.
type policyLister struct {
	client    client.Client
	namespace string
}

func (l policyLister) Policies(ctx context.Context) ([]v1alpha1.GroupPolicy, error) {
	var all v1alpha1.GroupPolicyList
	err := l.client.List(ctx, &all, client.InNamespace(l.namespace))
	return all.Items, err
}

// httpServer serves on every replica and drains when the manager stops.
type httpServer struct {
	listen string
	server *http.Server
	log    *slog.Logger
}

func (s *httpServer) NeedLeaderElection() bool { return false }

func (s *httpServer) Start(ctx context.Context) error {
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	s.log.Info("serving the Hub and people", "address", listener.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- s.server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := s.server.Shutdown(drain); err != nil {
		s.log.Warn("requests cut off", "error", err)
		return s.server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
