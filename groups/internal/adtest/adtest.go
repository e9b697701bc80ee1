// Package adtest runs a real Active Directory domain controller for tests:
// Samba's, of which only the LDAP service is started, on a loopback address of
// its own, with everything in a temporary directory.
package adtest

import (
	"bytes"
	"crypto/tls"
	_ "embed"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups/internal/certtest"
	"github.com/elastichub/elastichub/outbound"
	"github.com/elastichub/elastichub/test/loopback"
)

// The domain and its administrator.
const (
	Domain        = "ad.example"
	Suffix        = "DC=ad,DC=example"
	People        = "OU=people," + Suffix
	Groups        = "OU=groups," + Suffix
	Administrator = "CN=Administrator,CN=Users," + Suffix
	Password      = "not-a-Secret-1"
)

// Server is a domain controller. As all of them it lets nobody search without
// a password, and takes none without TLS.
type Server struct {
	// URL is ldap:// (StartTLS offered), SecureURL is ldaps://.
	URL, SecureURL string
	// CAFile signs the server's certificate, for the address in the URLs.
	CAFile string

	t       testing.TB
	address string
	command []string
	process *exec.Cmd
	// alive is the process's input. Samba ends when it is closed, which a test
	// that is killed does too.
	alive io.Closer
	log   bytes.Buffer
}

//go:embed domain.py
var makeDomain string

// Start makes a domain with the entries of the LDIF below Suffix, People and
// Groups, which are there already. It skips the test where Samba cannot be run,
// unless CI=true.
func Start(t testing.TB, ldif string) *Server {
	t.Helper()
	binary, err := exec.LookPath("samba")
	if err == nil && os.Geteuid() != 0 {
		err = fmt.Errorf("samba has to be started by root")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	s := &Server{t: t, CAFile: filepath.Join(dir, "ca.pem"), address: loopback.IP()}
	s.URL, s.SecureURL = "ldap://"+s.address, "ldaps://"+s.address
	certtest.Write(t, dir, net.ParseIP(s.address))
	for _, name := range []string{"private", "state", "cache", "lock", "pid", "ncalrpc", "bind-dns", "sysvol/" + Domain + "/scripts"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	config := filepath.Join(dir, "smb.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `[global]
workgroup = AD
realm = %[2]s
netbios name = DC1
server role = active directory domain controller
server services = ldap
interfaces = %[3]s/8
bind interfaces only = yes
private dir = %[1]s/private
state directory = %[1]s/state
cache directory = %[1]s/cache
lock directory = %[1]s/lock
pid directory = %[1]s/pid
ncalrpc dir = %[1]s/ncalrpc
binddns dir = %[1]s/bind-dns
log file = %[1]s/log
tls cafile = %[1]s/ca.pem
tls certfile = %[1]s/server.pem
tls keyfile = %[1]s/server.key
[sysvol]
path = %[1]s/sysvol
[netlogon]
path = %[1]s/sysvol/%[2]s/scripts
`, dir, Domain, s.address), 0o600))
	// Samba's modules are those of the system's Python.
	fill := exec.Command("/usr/bin/python3", "-c", makeDomain, config, Password)
	fill.Stdin = strings.NewReader(Entry(People, "objectClass", "organizationalUnit") + Entry(Groups, "objectClass", "organizationalUnit") + ldif)
	output, err := fill.CombinedOutput()
	require.NoError(t, err, "%s", output)
	s.command = []string{binary, "--foreground", "--no-process-group", "--model=single", "--configfile=" + config, "--debug-stdout"}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("samba: %s", s.log.String())
		}
	})
	s.Resume()
	return s
}

// Stop ends the process and waits for it. A stopped server can be resumed.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	_ = s.alive.Close()
	s.process = nil
}

// Resume starts the process on the same address and data.
func (s *Server) Resume() {
	s.t.Helper()
	s.process = exec.Command(s.command[0], s.command[1:]...)
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	var err error
	s.alive, err = s.process.StdinPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, s.process.Start())
	require.Eventually(s.t, func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort(s.address, ldap.DefaultLdapsPort))
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, 30*time.Second, 20*time.Millisecond, "samba does not listen")
}

// Do does something as the administrator.
func (s *Server) Do(do func(*ldap.Conn) error) {
	s.t.Helper()
	roots, err := outbound.Roots(s.CAFile)
	require.NoError(s.t, err)
	c, err := ldap.DialURL(s.SecureURL, ldap.DialWithTLSConfig(&tls.Config{RootCAs: roots}))
	require.NoError(s.t, err)
	defer c.Close()
	require.NoError(s.t, c.Bind(Administrator, Password))
	require.NoError(s.t, do(c))
}

// Entry is an entry as LDIF; pairs are attribute and value in turn.
func Entry(dn string, pairs ...string) string {
	var b strings.Builder
	line := func(name, value string) {
		fmt.Fprintf(&b, "%s:: %s\n", name, base64.StdEncoding.EncodeToString([]byte(value)))
	}
	line("dn", dn)
	for i := 0; i < len(pairs); i += 2 {
		line(pairs[i], pairs[i+1])
	}
	b.WriteByte('\n')
	return b.String()
}
