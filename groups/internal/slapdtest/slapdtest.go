// Package slapdtest runs a real OpenLDAP server for tests: a slapd process of
// its own, on free loopback ports, with everything in a temporary directory.
package slapdtest

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups/internal/certtest"
	"github.com/elastichub/elastichub/test/loopback"
)

// The directory's suffix and administrator.
const (
	Suffix       = "dc=example,dc=org"
	People       = "ou=people," + Suffix
	Groups       = "ou=groups," + Suffix
	RootDN       = "cn=root," + Suffix
	RootPassword = "not-a-secret"
)

// Server is a slapd with the overlay memberof. Anonymous clients may search.
type Server struct {
	// URL is ldap:// (StartTLS offered), SecureURL is ldaps://.
	URL, SecureURL string
	// CAFile signs the server's certificate, for Setup.IP.
	CAFile string

	t       testing.TB
	command []string
	process *exec.Cmd
	log     bytes.Buffer
}

// Setup is what a server has from the start.
type Setup struct {
	// Database are further lines of slapd.conf for the database.
	Database string
	// LDIF is loaded by slapadd below Suffix, People and Groups, which are
	// there already. Overlays do not see it: memberOf has to be in it.
	LDIF string
	// IP is where it listens, and what its certificate is for; empty: 127.0.0.1.
	IP string
}

// Start is StartWith nothing special.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartWith(t, Setup{})
}

// StartWith skips the test where slapd is not installed, unless CI=true.
func StartWith(t testing.TB, setup Setup) *Server {
	t.Helper()
	binary, err := exec.LookPath("slapd")
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/slapd")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("slapd is not installed")
		}
		t.Skip("slapd is not installed")
	}
	dir := t.TempDir()
	s := &Server{t: t, CAFile: filepath.Join(dir, "ca.pem")}
	ip := cmp.Or(setup.IP, "127.0.0.1")
	certtest.Write(t, dir, net.ParseIP(ip))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	config := fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile %[1]s/pid
argsfile %[1]s/args
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/server.pem
TLSCertificateKeyFile %[1]s/server.key
sizelimit unlimited
database mdb
maxsize 268435456
suffix "%[2]s"
rootdn "%[3]s"
rootpw %[4]s
directory %[1]s/db
index objectClass,uid,cn,member,uniqueMember,memberUid eq
%[5]s
overlay memberof
`, dir, Suffix, RootDN, RootPassword, setup.Database)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "slapd.conf"), []byte(config), 0o600))
	s.URL = "ldap://" + net.JoinHostPort(ip, strconv.Itoa(loopback.Port()))
	s.SecureURL = "ldaps://" + net.JoinHostPort(ip, strconv.Itoa(loopback.Port()))
	s.command = []string{binary, "-f", filepath.Join(dir, "slapd.conf"), "-h", s.URL + " " + s.SecureURL, "-d", "0"}
	s.load(t, binary, dir, setup.LDIF)
	s.Resume()
	t.Cleanup(s.Stop)
	return s
}

// load is done by slapadd, which is slapd by another name.
func (s *Server) load(t testing.TB, binary, dir, ldif string) {
	t.Helper()
	const base = "dn: " + Suffix + "\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n" +
		"dn: " + People + "\nobjectClass: organizationalUnit\nou: people\n\n" +
		"dn: " + Groups + "\nobjectClass: organizationalUnit\nou: groups\n\n"
	load := exec.Command(binary, "-T", "add", "-q", "-f", filepath.Join(dir, "slapd.conf"))
	load.Stdin = strings.NewReader(base + ldif)
	output, err := load.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// Stop ends the process and waits for it. A stopped server can be resumed.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	s.process = nil
}

// Resume starts the process on the same ports and data.
func (s *Server) Resume() {
	s.t.Helper()
	s.process = exec.Command(s.command[0], s.command[1:]...)
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	require.NoError(s.t, s.process.Start())
	require.Eventually(s.t, func() bool {
		c, err := ldap.DialURL(s.URL)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, time.Minute, 20*time.Millisecond, "slapd does not listen")
}

// Add adds an entry; pairs are attribute and value in turn.
func (s *Server) Add(dn string, pairs ...string) {
	s.t.Helper()
	request := ldap.NewAddRequest(dn, nil)
	values := map[string][]string{}
	var order []string
	for i := 0; i < len(pairs); i += 2 {
		if _, known := values[pairs[i]]; !known {
			order = append(order, pairs[i])
		}
		values[pairs[i]] = append(values[pairs[i]], pairs[i+1])
	}
	for _, name := range order {
		request.Attribute(name, values[name])
	}
	s.admin(func(c *ldap.Conn) error { return c.Add(request) })
}

// AddUser adds an inetOrgPerson below People and returns its DN.
func (s *Server) AddUser(uid string) string {
	s.t.Helper()
	dn := "uid=" + ldap.EscapeDN(uid) + "," + People
	s.Add(dn, "objectClass", "inetOrgPerson", "uid", uid, "cn", uid, "sn", uid)
	return dn
}

func (s *Server) admin(do func(*ldap.Conn) error) {
	s.t.Helper()
	c, err := ldap.DialURL(s.URL)
	require.NoError(s.t, err)
	defer c.Close()
	require.NoError(s.t, c.Bind(RootDN, RootPassword))
	require.NoError(s.t, do(c))
}
