package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"
)

const validity = 10 * 365 * 24 * time.Hour

// identity is one certificate of the cluster: who it names and, for a server,
// under which names and addresses it is reached.
type identity struct {
	file   string
	name   string
	groups []string
	dns    []string
	ips    []string
	// kubeconfig, if not empty, is the file that gets a kubeconfig with it.
	kubeconfig string
}

func (l Layout) identities(nodeIPs ...string) []identity {
	masters := []string{"system:masters"}
	return []identity{
		{
			file: "apiserver", name: "kube-apiserver",
			dns: []string{
				"localhost", nodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc." + clusterDomain,
			},
			ips: append([]string{"127.0.0.1", apiService, apiService6}, nodeIPs...),
		},
		{file: "kubelet-server", name: "system:node:" + nodeName, dns: []string{nodeName}, ips: nodeIPs},
		{file: "apiserver-kubelet-client", name: "kube-apiserver-kubelet-client", groups: masters},
		{file: "admin", name: "localcluster-admin", groups: masters, kubeconfig: l.Kubeconfig()},
		{file: "controller-manager", name: "system:kube-controller-manager", kubeconfig: l.config("controller-manager.kubeconfig")},
		{file: "scheduler", name: "system:kube-scheduler", kubeconfig: l.config("scheduler.kubeconfig")},
		{file: "kube-proxy", name: "system:kube-proxy", kubeconfig: l.config("kube-proxy.kubeconfig")},
		{file: "kubelet", name: "system:node:" + nodeName, groups: []string{"system:nodes"}, kubeconfig: l.config("kubelet.kubeconfig")},
	}
}

// writePKI makes the cluster's certificate authority, every certificate it
// signs, the kubeconfigs and the key that signs service account tokens.
func (l Layout) writePKI(nodeIPs ...string) error {
	ca, err := newAuthority("elastichub-localcluster")
	if err != nil {
		return err
	}
	if err := writePair(l.pki("ca"), ca.der, ca.key); err != nil {
		return err
	}
	if err := l.writeIdentities(ca, "127.0.0.1", l.identities(nodeIPs...)); err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writePEM(l.pki("service-account.pub"), "PUBLIC KEY", public, 0o644); err != nil {
		return err
	}
	return writeKey(l.pki("service-account.key"), key)
}

// writeIdentities writes certificates, and the kubeconfigs of those who are the clients
// of an API server at that address.
func (l Layout) writeIdentities(ca authority, address string, identities []identity) error {
	for _, id := range identities {
		der, key, err := ca.issue(id)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", id.file, err)
		}
		if err := writePair(l.pki(id.file), der, key); err != nil {
			return err
		}
		if id.kubeconfig == "" {
			continue
		}
		if err := writeKubeconfig(id.kubeconfig, address, l.pki("ca.crt"), l.pki(id.file)); err != nil {
			return err
		}
	}
	return nil
}

type authority struct {
	cert *x509.Certificate
	der  []byte
	key  *ecdsa.PrivateKey
}

func newAuthority(name string) (authority, error) {
	key, err := newKey()
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(validity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return authority{cert: cert, der: der, key: key}, err
}

// readAuthority reads what writePair wrote.
func readAuthority(base string) (authority, error) {
	pair, err := tls.LoadX509KeyPair(base+".crt", base+".key")
	if err != nil {
		return authority{}, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return authority{}, fmt.Errorf("%s.key is a %T", base, pair.PrivateKey)
	}
	return authority{cert: pair.Leaf, der: pair.Certificate[0], key: key}, nil
}

func (a authority) issue(id identity) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: id.name, Organization: id.groups},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames:     id.dns,
	}
	for _, text := range id.ips {
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, nil, fmt.Errorf("%q is not an IP address", text)
		}
		template.IPAddresses = append(template.IPAddresses, ip)
	}
	if len(id.dns) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	return der, key, err
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// writePair writes base.crt and base.key.
func writePair(base string, der []byte, key crypto.Signer) error {
	if err := writePEM(base+".crt", "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	return writeKey(base+".key", key)
}

func writeKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(name, "PRIVATE KEY", der, 0o600)
}

func writePEM(name, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

// writeKubeconfig embeds certificates and key, so that the file can be copied. The API
// server has that address.
func writeKubeconfig(name, address, caFile, pair string) error {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	cert, err := os.ReadFile(pair + ".crt")
	if err != nil {
		return err
	}
	key, err := os.ReadFile(pair + ".key")
	if err != nil {
		return err
	}
	const entry = "localcluster"
	config := api.NewConfig()
	config.Clusters[entry] = &api.Cluster{Server: fmt.Sprintf("https://%s:%d", address, apiPort), CertificateAuthorityData: ca}
	config.AuthInfos[entry] = &api.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts[entry] = &api.Context{Cluster: entry, AuthInfo: entry}
	config.CurrentContext = entry
	return clientcmd.WriteToFile(*config, name)
}
