// Command gateway runs a program with a kernel gateway to talk to: the real one,
// on a real API server, with real agents and kernels in place of Pods.
//
//	gateway api COMMAND...
//	gateway [-python PYTHON] [-namespace NAME] -- COMMAND...
//	gateway door -listen HOST:PORT -token TOKEN
//
// api starts the API server; gateways that the command runs in it use that one. The
// command of a gateway finds GATEWAY_URL, GATEWAY_TOKEN, the token of a client without
// policies, and GATEWAY_DOOR, host and port where the gateway takes requests
// without a token. door is another such place for whoever has TOKEN there.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/gateway"
	"github.com/elastichub/elastichub/test/apiserver"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/tokens"
)

const (
	gatewayName = "gateway"
	clientName  = "suite"
	token       = "suite-0123456789abcdef"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(logr.Discard())
	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	var err error
	switch verb {
	case "api":
		err = serveAPI(ctx, os.Args[2:])
	case "door":
		err = openDoor(ctx, os.Args[2:])
	default:
		err = run(ctx, os.Args[1:])
	}
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// apiVariable has the path of a kubeconfig for what runs in api.
const apiVariable = "CLIENTS_KUBECONFIG"

// serveAPI runs a command beside an API server that knows our kinds.
func serveAPI(ctx context.Context, command []string) (err error) {
	if len(command) == 0 {
		return errors.New("a command is required")
	}
	env := apiserver.Environment(filepath.Join("charts", "elastichub", "crds"))
	if _, err := env.Start(); err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	defer func() { err = errors.Join(err, env.Stop()) }()
	file, err := os.CreateTemp("", "clients-*.kubeconfig")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(env.KubeConfig); err != nil {
		return err
	}
	return runCommand(ctx, command, apiVariable+"="+file.Name())
}

func runCommand(ctx context.Context, command []string, env ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	return cmd.Run()
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("gateway", flag.ExitOnError)
	python := flags.String("python", "python3", "with ipykernel")
	namespace := flags.String("namespace", "clients", "of its own")
	logFile := flags.String("log", os.DevNull, "of gateway and agents")
	_ = flags.Parse(args)
	if flags.NArg() == 0 {
		return errors.New("a command is required")
	}
	out, err := os.Create(*logFile)
	if err != nil {
		return err
	}
	defer out.Close()
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(apiVariable))
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	key := bytes.Repeat([]byte{9}, keys.Size)
	api, err := prepare(ctx, config, *namespace)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "clients-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg, err := configure(dir, *namespace, key)
	if err != nil {
		return err
	}
	background, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() { failed <- gateway.Run(background, cfg, config, prometheus.NewRegistry(), nil, log) }()
	pods := newPods(api, *namespace, key, *python, log)
	go pods.run(background)
	defer func() {
		cancel()
		pods.wait()
		if err := <-failed; err != nil {
			log.Error("the gateway ended", "error", err)
		}
	}()
	if err := ready(ctx, cfg, failed); err != nil {
		return err
	}
	door := loopback.Address()
	go func() { _ = serveDoor(background, door, "http://"+cfg.Listen, "") }()

	return runCommand(ctx, flags.Args(), "GATEWAY_URL=http://"+cfg.Listen, "GATEWAY_TOKEN="+token, "GATEWAY_DOOR="+door)
}

// prepare writes a gateway with one kernelspec and one client.
func prepare(ctx context.Context, config *rest.Config, namespace string) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&v1alpha1.JupyterKernelSpec{ObjectMeta: meta("python3"), Spec: v1alpha1.JupyterKernelSpecSpec{Language: "python", DisplayName: "Python 3", Image: "local"}},
		&v1alpha1.JupyterGateway{ObjectMeta: meta(gatewayName), Spec: v1alpha1.JupyterGatewaySpec{
			Kernels: []string{"python3"}, Auth: &v1alpha1.GatewayAuth{Clients: []v1alpha1.GatewayClient{{Name: clientName}}},
		}},
	} {
		if err := api.Create(ctx, o); err != nil {
			return nil, err
		}
	}
	return api, nil
}

// configure writes the gateway's files to dir.
func configure(dir, namespace string, key []byte) (gateway.Config, error) {
	issuer, err := tokens.NewIssuer(bytes.Repeat([]byte{3}, 32))
	if err != nil {
		return gateway.Config{}, err
	}
	cfg := gateway.Default()
	cfg.Namespace, cfg.Name, cfg.Listen, cfg.Health = namespace, gatewayName, loopback.Address(), loopback.Address()
	cfg.KeyFile, cfg.TokenKeyFile, cfg.ClientsDir = filepath.Join(dir, "key"), filepath.Join(dir, "public"), filepath.Join(dir, "tokens")
	return cfg, errors.Join(
		os.WriteFile(cfg.KeyFile, key, 0o600),
		os.WriteFile(cfg.TokenKeyFile, []byte(issuer.PublicKey()), 0o600),
		os.Mkdir(cfg.ClientsDir, 0o700),
		os.WriteFile(filepath.Join(cfg.ClientsDir, clientName), []byte(token), 0o600),
	)
}

// ready waits until the gateway has read its objects.
func ready(ctx context.Context, cfg gateway.Config, failed <-chan error) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+cfg.Health+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-failed:
			return fmt.Errorf("the gateway ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-pause():
		}
	}
}

func openDoor(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("door", flag.ExitOnError)
	listen := flags.String("listen", "", "host:port")
	accepted := flags.String("token", "", "that is accepted in place of the gateway's")
	_ = flags.Parse(args)
	return serveDoor(ctx, *listen, os.Getenv("GATEWAY_URL"), *accepted)
}

// serveDoor forwards requests that bear the accepted token, which may be empty,
// with the gateway's.
func serveDoor(ctx context.Context, listen, to, accepted string) error {
	target, err := url.Parse(to)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // for the origin
		query := r.Out.URL.Query()
		_, bearer, _ := strings.Cut(r.In.Header.Get("Authorization"), " ")
		version := r.In.URL.Path == "/api" // which a jupyter_server tells anybody
		if version || bearer == accepted && query.Get("token") == "" || query.Get("token") == accepted {
			r.Out.Header.Set("Authorization", "token "+token)
			query.Del("token")
		}
		r.Out.URL.RawQuery = query.Encode()
	}}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: pauseTime * 100}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
