package ldap

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/internal/slapdtest"
	"github.com/elastichub/elastichub/groups/naming"
	"github.com/elastichub/elastichub/test/loopback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func directoryConfig(urls ...string) Config {
	c := DefaultConfig()
	c.URLs = urls
	c.StartTLS, c.AllowPlaintext = false, true
	c.UserBase, c.GroupBase = slapdtest.People, slapdtest.Groups
	c.DialTimeout, c.BindTimeout, c.SearchTimeout = patience, patience, patience
	return c
}

// patience is how long a directory of a test may take to answer.
const patience = 20 * time.Second

// hasty is a configuration for a directory that never answers.
func hasty(c Config) Config {
	c.DialTimeout, c.BindTimeout, c.SearchTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	return c
}

// secretFile is a mounted secret, with the line break that editors leave.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(content+"\n"), 0o600))
	return file
}

func source(t *testing.T, c Config) *Source {
	t.Helper()
	s, err := New(c, time.Now)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func groupDNs(m groups.Membership) []string {
	var all []string
	for _, g := range m.Groups {
		all = append(all, g.DN)
	}
	return all
}

// populate makes alice, bob and carol, each in one group by another way.
func populate(s *slapdtest.Server) {
	alice, bob := s.AddUser("alice"), s.AddUser("bob")
	s.AddUser("carol")
	s.AddUser("dave")
	s.Add("cn=ml-research,"+slapdtest.Groups, "objectClass", "groupOfNames", "cn", "ml-research", "member", alice)
	s.Add(`cn=R\2BD\, Berlin,`+slapdtest.Groups, "objectClass", "groupOfNames", "cn", "R+D, Berlin", "member", alice)
	s.Add("cn=analysts,"+slapdtest.Groups, "objectClass", "groupOfUniqueNames", "cn", "analysts", "uniqueMember", bob)
	s.Add("cn=posix,"+slapdtest.Groups, "objectClass", "posixGroup", "cn", "posix", "gidNumber", "5000", "memberUid", "carol")
}

func TestLDAPMembership(t *testing.T) {
	server := slapdtest.Start(t)
	populate(server)
	byMemberOf := directoryConfig(server.URL)
	byMemberOf.GroupBase = ""
	bySearch := directoryConfig(server.URL)
	bySearch.MemberOfAttribute = ""
	both := directoryConfig(server.URL)
	bound := directoryConfig(server.URL)
	bound.BindDN, bound.BindPasswordFile = slapdtest.RootDN, secretFile(t, slapdtest.RootPassword)
	onlyNames := directoryConfig(server.URL)
	onlyNames.GroupFilter = "(objectClass=groupOfUniqueNames)"
	onlyNames.MemberOfAttribute = ""

	alices := []groups.Group{{Name: "ml-research", DN: "cn=ml-research," + slapdtest.Groups}, {Name: "R+D, Berlin", DN: `cn=R\2BD\2C Berlin,` + slapdtest.Groups}}
	analysts := []groups.Group{{Name: "analysts", DN: "cn=analysts," + slapdtest.Groups}}
	for _, row := range []struct {
		name   string
		config Config
		user   string
		want   []groups.Group
	}{
		{"memberOf", byMemberOf, "alice", alices},
		{"memberOf knows no uniqueMember", byMemberOf, "bob", nil},
		{"member", bySearch, "alice", alices},
		{"uniqueMember", bySearch, "bob", analysts},
		{"memberUid", bySearch, "carol", []groups.Group{{Name: "posix", DN: "cn=posix," + slapdtest.Groups}}},
		{"both give each group once", both, "alice", alices},
		{"in no group", both, "dave", nil},
		{"case of the user", both, "ALICE", alices},
		{"bind account", bound, "bob", analysts},
		{"group filter", onlyNames, "alice", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, err := source(t, row.config).Lookup(t.Context(), row.user)
			require.NoError(t, err)
			assert.Equal(t, row.user, m.User)
			assert.Equal(t, "ldap", m.Source)
			assert.False(t, m.Stale)
			assert.WithinDuration(t, time.Now(), m.AsOf, 5*time.Second)
			require.Len(t, m.Groups, len(row.want))
			for i := range row.want {
				want, err := naming.CanonicalDN(row.want[i].DN)
				require.NoError(t, err)
				got, err := naming.CanonicalDN(m.Groups[i].DN)
				require.NoError(t, err)
				assert.Equal(t, row.want[i].Name, m.Groups[i].Name)
				assert.Equal(t, want, got)
			}
		})
	}
	t.Run("user filter", func(t *testing.T) {
		c := directoryConfig(server.URL)
		c.UserFilter = "(!(uid=alice))"
		_, err := source(t, c).Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnknownUser)
	})
	t.Run("more groups than a page", func(t *testing.T) {
		erin := server.AddUser("erin")
		for i := range pageSize + 3 {
			server.Add(fmt.Sprintf("cn=g%d,%s", i, slapdtest.Groups), "objectClass", "groupOfNames", "cn", fmt.Sprintf("g%d", i), "member", erin)
		}
		c := directoryConfig(server.URL)
		c.MemberOfAttribute = ""
		m, err := source(t, c).Lookup(t.Context(), "erin")
		require.NoError(t, err)
		assert.Len(t, m.Groups, pageSize+3)
	})
}

// Whatever the name, the answer is about that user or about nobody.
func TestLDAPNamesMatchOnlyThemselves(t *testing.T) {
	server := slapdtest.Start(t)
	populate(server)
	odd := []string{`a*`, `(x)`, `back\slash`, `a,b`, `#hash`, `p+q`, `<l>`, `semi;colon`, `quo"te`, `eq=ual`}
	for _, name := range odd {
		dn := server.AddUser(name)
		server.Add("cn=of-"+strings.Map(func(r rune) rune {
			if r < 'a' || r > 'z' {
				return 'X'
			}
			return r
		}, name)+fmt.Sprint(len(name), name[0])+","+slapdtest.Groups, "objectClass", "groupOfNames", "cn", "only", "member", dn)
	}
	s := source(t, directoryConfig(server.URL))
	for _, name := range odd {
		m, err := s.Lookup(t.Context(), name)
		require.NoError(t, err, name)
		assert.Len(t, m.Groups, 1, "%q: %v", name, groupDNs(m))
	}
	for _, name := range []string{
		"", "*", "a*e", "alic*", "*)(uid=*", "alice)(uid=*", "alice)(|(uid=*)", `alice\`, `alice\2a`, `\61lice`,
		"alice\x00", "\x00", "alice ", " alice", "al  ice", "alice\n", "alice,ou=people", "uid=alice",
		"ａlice", "аlice", "alıce", "al\u00adice", "al\u200bice", "ALİCE", "\xff\xfe", "alice\xc0\xaf",
		strings.Repeat("a", 10<<10), strings.Repeat("*", 1000), strings.Repeat("(", 1000),
	} {
		m, err := s.Lookup(t.Context(), name)
		assert.ErrorIs(t, err, groups.ErrUnknownUser, "%.40q", name)
		assert.Empty(t, m.Groups, "%.40q", name)
	}
	t.Run("two entries of one name", func(t *testing.T) {
		server.Add("cn=second alice,"+slapdtest.People, "objectClass", "inetOrgPerson", "uid", "alice", "cn", "second alice", "sn", "a")
		_, err := s.Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
		assert.ErrorContains(t, err, "several entries")
		assert.ErrorIs(t, err, groups.ErrOneUser)
		assert.Equal(t, []time.Time{{}}, s.pool.failed, "the server did not fail")
		assert.Len(t, s.pool.idle, 1)
	})
}

// TestLDAPByIPv6: a directory at an address of that family alone, whose certificate, by a CA of the
// site's own, is for that address.
func TestLDAPByIPv6(t *testing.T) {
	loopback.NeedIPv6(t)
	server := slapdtest.StartWith(t, slapdtest.Setup{IP: "::1"})
	populate(server)
	secure := directoryConfig(server.SecureURL)
	secure.CAFile = server.CAFile
	upgraded := directoryConfig(server.URL)
	upgraded.StartTLS, upgraded.CAFile, upgraded.AllowPlaintext = true, server.CAFile, false
	for name, c := range map[string]Config{"ldaps": secure, "starttls": upgraded} {
		require.NoError(t, c.Validate(), name)
		m, err := source(t, c).Lookup(t.Context(), "alice")
		require.NoError(t, err, name)
		assert.Len(t, m.Groups, 2, name)
	}
}

func TestLDAPOverTLS(t *testing.T) {
	server := slapdtest.Start(t)
	populate(server)
	other := slapdtest.Start(t)
	rubbish := filepath.Join(t.TempDir(), "rubbish.pem")
	require.NoError(t, os.WriteFile(rubbish, []byte("no certificate"), 0o600))

	secure := directoryConfig(server.SecureURL)
	secure.CAFile = server.CAFile
	upgraded := directoryConfig(server.URL)
	upgraded.StartTLS, upgraded.CAFile, upgraded.AllowPlaintext = true, server.CAFile, false
	for name, c := range map[string]Config{"ldaps": secure, "starttls": upgraded} {
		t.Run(name, func(t *testing.T) {
			m, err := source(t, c).Lookup(t.Context(), "alice")
			require.NoError(t, err)
			assert.Len(t, m.Groups, 2)
		})
		t.Run(name+" with another CA", func(t *testing.T) {
			c := c
			c.CAFile = other.CAFile
			_, err := source(t, c).Lookup(t.Context(), "alice")
			assert.ErrorIs(t, err, groups.ErrUnavailable)
			assert.ErrorContains(t, err, "certificate signed by unknown authority")
		})
		t.Run(name+" with the system's CAs", func(t *testing.T) {
			c := c
			c.CAFile = ""
			_, err := source(t, c).Lookup(t.Context(), "alice")
			assert.ErrorIs(t, err, groups.ErrUnavailable)
		})
		t.Run(name+" under another name", func(t *testing.T) {
			c := c
			c.URLs = []string{strings.Replace(c.URLs[0], "127.0.0.1", "localhost", 1)}
			_, err := source(t, c).Lookup(t.Context(), "alice")
			assert.ErrorIs(t, err, groups.ErrUnavailable)
			assert.ErrorContains(t, err, "localhost")
		})
		t.Run(name+" with rubbish for a CA", func(t *testing.T) {
			c := c
			c.CAFile = rubbish
			_, err := New(c, time.Now)
			assert.ErrorContains(t, err, "no certificate in it")
		})
	}
}

// A peer that takes StartTLS away gets neither the password nor a search.
func TestLDAPStartTLSStripped(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	received := make(chan []byte, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var all []byte
		buffer := make([]byte, 4096)
		for {
			_ = c.SetReadDeadline(time.Now().Add(patience))
			n, err := c.Read(buffer)
			all = append(all, buffer[:n]...)
			if err != nil {
				received <- all
				return
			}
			// ExtendedResponse, protocolError: TLS is not supported.
			_, _ = c.Write([]byte{0x30, 0x0c, 0x02, 0x01, 0x01, 0x78, 0x07, 0x0a, 0x01, 0x02, 0x04, 0x00, 0x04, 0x00})
		}
	}()
	c := directoryConfig("ldap://" + listener.Addr().String())
	c.StartTLS, c.BindDN, c.BindPasswordFile = true, slapdtest.RootDN, secretFile(t, "the-password")
	_, err = source(t, c).Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrUnavailable)
	assert.ErrorContains(t, err, "starttls")
	require.NoError(t, listener.Close())
	assert.NotContains(t, string(<-received), "the-password")
}

func TestLDAPBindRefused(t *testing.T) {
	server := slapdtest.Start(t)
	populate(server)
	c := directoryConfig(server.URL)
	c.BindDN, c.BindPasswordFile = slapdtest.RootDN, secretFile(t, "wrong")
	s := source(t, c)
	_, err := s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrUnavailable)
	assert.ErrorContains(t, err, "bind")
	assert.NotContains(t, err.Error(), "wrong")
	require.NoError(t, os.WriteFile(c.BindPasswordFile, []byte(slapdtest.RootPassword), 0o600))
	_, err = s.Lookup(t.Context(), "alice")
	assert.NoError(t, err, "the password is read for each connection")
}

// A base that is not there is a fault of the configuration, not of the user.
func TestLDAPBaseMissing(t *testing.T) {
	server := slapdtest.Start(t)
	c := directoryConfig(server.URL)
	c.UserBase = "ou=nowhere," + slapdtest.Suffix
	_, err := source(t, c).Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrUnavailable)
}

// hang accepts connections and never says a word.
func hang(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String()
}

func TestLDAPThatHangs(t *testing.T) {
	address := hang(t)
	search := hasty(directoryConfig("ldap://" + address))
	bind := search
	bind.BindDN, bind.BindPasswordFile = slapdtest.RootDN, secretFile(t, slapdtest.RootPassword)
	startTLS := search
	startTLS.StartTLS = true
	handshake := hasty(directoryConfig("ldaps://" + address))
	for name, c := range map[string]Config{"search": search, "bind": bind, "starttls": startTLS, "ldaps": handshake} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := source(t, c).Lookup(t.Context(), "alice")
			assert.ErrorIs(t, err, groups.ErrUnavailable)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Less(t, time.Since(began), patience)
		})
	}
	t.Run("the caller's deadline", func(t *testing.T) {
		c := search
		c.DialTimeout, c.SearchTimeout = time.Minute, time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := source(t, c).Lookup(ctx, "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
		assert.Less(t, time.Since(began), patience)
	})
	t.Run("the wait for a connection", func(t *testing.T) {
		c := search
		c.PoolSize, c.SearchTimeout = 1, 3*time.Second
		s := source(t, c)
		first := make(chan error)
		go func() {
			_, err := s.Lookup(t.Context(), "alice")
			first <- err
		}()
		require.Eventually(t, func() bool { return len(s.pool.slots) == 1 }, patience, time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := s.Lookup(ctx, "bob")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
		assert.ErrorContains(t, err, "wait for a connection")
		assert.ErrorIs(t, <-first, groups.ErrUnavailable)
	})
}

func TestLDAPStoppedAndRestarted(t *testing.T) {
	server := slapdtest.Start(t)
	populate(server)
	s := source(t, directoryConfig(server.URL))
	_, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	require.Len(t, s.pool.idle, 1)
	kept := s.pool.idle[0]
	_, err = s.Lookup(t.Context(), "bob")
	require.NoError(t, err)
	assert.Same(t, kept, s.pool.idle[0], "the connection is used again")

	server.Stop()
	began := time.Now()
	_, err = s.Lookup(t.Context(), "alice")
	assert.ErrorIs(t, err, groups.ErrUnavailable)
	assert.Less(t, time.Since(began), patience)

	server.Resume()
	m, err := s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Len(t, m.Groups, 2)

	// Restarted between two lookups: the kept connection is dead, the caller sees nothing.
	server.Stop()
	server.Resume()
	m, err = s.Lookup(t.Context(), "alice")
	require.NoError(t, err)
	assert.Len(t, m.Groups, 2)
}

func TestLDAPFailover(t *testing.T) {
	server := slapdtest.Start(t)
	populate(server)
	for name, first := range map[string]string{"hangs": "ldap://" + hang(t), "refuses": "ldap://127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			c := directoryConfig(first, server.URL)
			c.SearchTimeout = 3 * time.Second // of the one that hangs
			s := source(t, c)
			m, err := s.Lookup(t.Context(), "alice")
			require.NoError(t, err)
			assert.Len(t, m.Groups, 2)
			assert.Equal(t, []int{1, 0}, s.pool.serverOrder(), "who failed lately is tried last")
		})
	}
	t.Run("all of them", func(t *testing.T) {
		_, err := source(t, directoryConfig("ldap://127.0.0.1:1", "ldap://127.0.0.1:2")).Lookup(t.Context(), "alice")
		assert.ErrorIs(t, err, groups.ErrUnavailable)
		assert.ErrorContains(t, err, "127.0.0.1:1")
		assert.ErrorContains(t, err, "127.0.0.1:2")
	})
}

func TestLDAPPoolIsBounded(t *testing.T) {
	server := slapdtest.Start(t)
	populate(server)
	c := directoryConfig(server.URL)
	c.PoolSize = 2
	s := source(t, c)
	failures := make(chan error, 40)
	for range 40 {
		go func() {
			_, err := s.Lookup(t.Context(), "alice")
			failures <- err
		}()
	}
	for range 40 {
		assert.NoError(t, <-failures)
	}
	assert.LessOrEqual(t, len(s.pool.idle), 2)
	assert.NotEmpty(t, s.pool.idle)
}
