package renew

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"
)

// Name is what a secret is called in the command.
type Name string

// The secrets that are made by us.
const (
	Signing         Name = "signing"
	HubToken        Name = "hub-token"
	Keep            Name = "keep"
	Portal          Name = "portal"
	NotebookMetrics Name = "notebook-metrics"
	GatewayKey      Name = "gateway-key"
)

// The secrets that others make, and tell us.
const (
	HubAPI      Name = "hub-api"
	GroupsHub   Name = "groups-hub"
	LDAP        Name = "ldap"
	PortalOIDC  Name = "portal-oidc"
	Metrics     Name = "metrics"
	Prometheus  Name = "prometheus"
	CA          Name = "ca"
	ClientToken Name = "client-token"
)

// Secret is one kind of secret of a release.
type Secret struct {
	Name Name
	// What it is, and who reads it.
	What, Readers string
	// key of the value in its Secret, and the file below the service's directory.
	key, path string
	// make gives a new value.
	make func() string
	// gateways read it, too.
	gateways bool
	// ofGateway: each gateway has one of its own.
	ofGateway bool
	// at once: there is one value, and no time in which two count.
	atOnce bool
	// FormerFor is how long the former counts, unless something else is asked for.
	FormerFor time.Duration
	// Cost is what a cut-off costs.
	Cost string
	// After says what is left to do when it was rotated; empty: nothing.
	After string
	// Owner says how it is changed by whoever made it; empty: we have made it.
	Owner string
}

// OfGateway reports whether each gateway has one of its own.
func (s Secret) OfGateway() bool { return s.ofGateway }

// Made reports whether the command makes a new value of it.
func (s Secret) Made() bool { return s.Owner == "" }

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// All are the secrets of a release, those first that we make.
var All = []Secret{
	{
		Name: Signing, What: "the key that signs the tokens of notebook servers", Readers: "service, gateways; notebook servers their tokens",
		key: "seed", path: "signing/seed", make: seed, gateways: true, FormerFor: week,
		Cost: "Servers that run get a new token within a minute or two, and cells wait until then. Servers that do not read theirs again " +
			"(of a former release, or of an image without elastichub's extension) lose their kernels until they are restarted, and say so.",
	},
	{
		Name: HubToken, What: "the token that JupyterHub shows to the service", Readers: "service, JupyterHub",
		key: "token", path: "hub/token", make: text, FormerFor: day,
		Cost: "Until the Hub has read its file again, a minute or two, nobody's server starts or stops. A Hub that has the token from " +
			"elsewhere has to be told. Servers and kernels that run go on.",
		After: "A Hub that reads it from a mounted file has it within a minute or two. One that was given it as a variable or by hand has to be told, and restarted, " +
			"before the former's time is over; servers and kernels go on meanwhile.",
	},
	{
		Name: Keep, What: "what the variables of parked kernels are sealed with", Readers: "service; each kernel its own key of it",
		key: "seed", path: "keep/seed", make: seed, FormerFor: week,
		Cost: "The variables of all kernels that are parked now are lost, and of those that run if they were parked before, and cells say so. " +
			"Homes, notebooks and kernels that run stay.",
	},
	{
		Name: Portal, What: "what the console's cookies are sealed with", Readers: "service",
		key: "key", path: "portal/key", make: text, FormerFor: week,
		Cost: "Everybody signs in to the console again, which with the Hub is a redirect.",
	},
	{
		Name: NotebookMetrics, What: "the token that opens the metrics of notebook servers", Readers: "Prometheus; notebook servers its hash",
		key: "token", make: text, atOnce: true,
		Cost: "Prometheus reads no metrics of notebook servers until it and they have read it again, a minute or two. Nobody else notices.",
	},
	{
		Name: GatewayKey, What: "what the secrets between a gateway and the agents of its kernels follow from", Readers: "service, gateway; each agent its own secret",
		key: "key", make: hexKey, ofGateway: true, FormerFor: week,
		Cost: "Cells wait for some seconds, until the agents of kernels that run have read their new secrets. Kernels whose agents are of a " +
			"former release, which knows one secret, end with their variables.",
	},
	{Name: HubAPI, What: "the token of the service at the Hub's API", Readers: "service", Owner: "Change it in JupyterHub's configuration (the api_token of its service), and write it into the Secret of hub.tokenSecret, key token. It is read for each request: no restart."},
	{Name: GroupsHub, What: "the token that asks the Hub for groups", Readers: "service", Owner: "As hub-api, in the Secret of groups.hub.tokenSecret, key token. It is read for each request: no restart."},
	{Name: LDAP, What: "the password of groups.ldap.bindDN", Readers: "service", Owner: "Change it in the directory, and write it into the Secret of groups.ldap.bindPasswordSecret, key password. It is read for each connection: no restart. Groups that are known count meanwhile, for groups.staleLimit."},
	{Name: PortalOIDC, What: "the console's secret at the OpenID provider", Readers: "service", Owner: "Change it at the provider, and write it into the Secret of portal.oidc.secret, key secret. It is read for each sign-in: no restart."},
	{Name: Metrics, What: "the token that opens the metrics of service and gateways", Readers: "service, gateways, Prometheus", Owner: "Write it into the Secret of metrics.tokenSecret, key token. It is read for each request: no restart. Scrapes are refused until both sides have it, a minute or two."},
	{Name: Prometheus, What: "the token that is shown to Prometheus", Readers: "service", Owner: "Change it there, and write it into the Secret of prometheus.tokenSecret, key token. It is read for each request: no restart."},
	{Name: CA, What: "the certificates that may sign those of directory, Hub and providers, and the service's", Readers: "service; JupyterHub in c.ElasticSpawner.ca_file", Owner: "Write the new ones beside the former into the ConfigMap of groups.caConfigMap, key ca.crt, or the file of caFile or ca_file, change the certificates, and remove the former. It is read for each connection: no restart. Those of the system are read once."},
	{Name: ClientToken, What: "the token of a client of a gateway", Readers: "gateway", Owner: "Write it into the Secret that spec.auth.clients[].tokenSecretRef of the JupyterGateway names. It is read every 5 s: no restart. To have two count for a while, add a second client of the same policies."},
}

// Find returns the secret of that name.
func Find(name string) (Secret, error) {
	for _, s := range All {
		if string(s.Name) == name {
			return s, nil
		}
	}
	return Secret{}, fmt.Errorf("there is no secret called %.60q: elastichub rotate --list names them", name)
}

// seed is 32 bytes in base64.
func seed() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

// hexKey is 32 bytes as hexadecimal digits.
func hexKey() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// text is 48 characters that can stand in a header, 288 bits.
func text() string {
	var b [36]byte
	_, _ = rand.Read(b[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// mark is 64 bits, to tell one step from others.
func mark() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

func sha256Hex(of string) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:])
}
