package spawner

import (
	"maps"
	"net/url"
	"strings"
)

const (
	envServiceURL = "JUPYTERHUB_SERVICE_URL"
	envHubAPIURL  = "JUPYTERHUB_API_URL"
)

const (
	everywhere4 = "0.0.0.0"
	everywhere6 = "::"
)

// Environment is what a server of the Hub runs with: what was asked for, fit for the cluster's network.
func Environment(cfg Config, req Request) map[string]string {
	return cfg.Proxy.CompleteValues(listening(cfg, req.Env), req.SecretEnv, hubHosts(req.Env)...)
}

// everywhere is where a server listens that is to be found by its Pod's address. Not both
// families at once: servers of former releases take a URL without a host for one of this Pod alone.
func everywhere(cfg Config) string {
	if cfg.IPv6 {
		return everywhere6
	}
	return everywhere4
}

// listening has a server that is to listen on all addresses do so on those by which it is reached:
// ElasticSpawner says 0.0.0.0, since the Hub cannot tell. Any other address stays.
func listening(cfg Config, env map[string]string) map[string]string {
	at, err := url.Parse(env[envServiceURL])
	if !cfg.IPv6 || err != nil || at.Hostname() != everywhere4 {
		return env
	}
	changed := maps.Clone(env)
	at.Host = strings.Replace(at.Host, everywhere4, "["+everywhere6+"]", 1)
	changed[envServiceURL] = at.String()
	return changed
}

// hubHosts is how a server calls the Hub: it has to find it without a proxy.
func hubHosts(env map[string]string) []string {
	at, err := url.Parse(env[envHubAPIURL])
	if err != nil || at.Hostname() == "" {
		return nil
	}
	return []string{at.Hostname()}
}
