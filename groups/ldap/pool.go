package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/outbound"
)

const (
	// avoidAfterFailure is how long a server that failed is tried last.
	avoidAfterFailure = 30 * time.Second
	// maxConnAge sends connections back to the preferred server, and past
	// servers that drop old ones.
	maxConnAge = 10 * time.Minute
	// maxPacketBytes bounds one LDAP message from a server.
	maxPacketBytes = 8 << 20
)

// The BER decoder's bound is a variable of its package; LDAP is its only user here.
func init() { ber.MaxPacketLengthBytes = maxPacketBytes }

// pool keeps bound connections. All operations read only, so one that
// fails is repeated elsewhere.
type pool struct {
	config  Config
	servers []*url.URL
	now     func() time.Time

	slots chan struct{}

	mu     sync.Mutex
	closed bool
	idle   []*conn
	// failed is when each server last failed.
	failed []time.Time
}

// conn is one bound connection. raw is below TLS.
type conn struct {
	*ldap.Conn
	raw    net.Conn
	server int
	opened time.Time
}

func newPool(config Config, now func() time.Time) (*pool, error) {
	p := &pool{config: config, now: now, slots: make(chan struct{}, config.PoolSize), failed: make([]time.Time, len(config.URLs))}
	for _, raw := range config.URLs {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, err
		}
		p.servers = append(p.servers, u)
	}
	// Read once to find faults early.
	if _, err := outbound.Roots(config.CAFile); err != nil {
		return nil, err
	}
	if _, err := p.password(); err != nil {
		return nil, err
	}
	return p, nil
}

// password is empty for anonymous searches only.
func (p *pool) password() (string, error) {
	if p.config.BindDN == "" {
		return "", nil
	}
	password, err := outbound.ReadSecret(p.config.BindPasswordFile)
	if err != nil {
		return "", fmt.Errorf("bindPasswordFile: %w", err)
	}
	return password, nil
}

// do runs op on a connection: a kept one if there is one, else, or when that
// fails, on a new one to each server in turn. Every error is a failure of the
// server, except groups.ErrOneUser.
func (p *pool) do(ctx context.Context, op func(context.Context, *conn) error) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return fmt.Errorf("wait for a connection: %w", context.Cause(ctx))
	}
	if c := p.getIdle(); c != nil {
		err := op(ctx, c)
		if err == nil || errors.Is(err, groups.ErrOneUser) {
			p.putIdle(c)
			return err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			p.markFailed(c.server)
		}
		// The server may have restarted; the others kept are no better.
		c.discard()
		p.closeIdle()
	}
	var failures []error
	for _, server := range p.serverOrder() {
		if ctx.Err() != nil {
			failures = append(failures, context.Cause(ctx))
			break
		}
		c, err := p.connect(ctx, server)
		if err == nil {
			if err = op(ctx, c); err == nil || errors.Is(err, groups.ErrOneUser) {
				p.putIdle(c)
				return err
			}
			c.discard()
		}
		p.markFailed(server)
		failures = append(failures, fmt.Errorf("%s: %w", p.servers[server].Host, err))
	}
	return errors.Join(failures...)
}

// connect dials, secures and binds.
func (p *pool) connect(ctx context.Context, server int) (*conn, error) {
	u := p.servers[server]
	roots, err := outbound.Roots(p.config.CAFile)
	if err != nil {
		return nil, err
	}
	password, err := p.password()
	if err != nil {
		return nil, err
	}
	dialCtx, cancel := context.WithTimeout(ctx, p.config.DialTimeout)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = map[string]string{"ldap": ldap.DefaultLdapPort, "ldaps": ldap.DefaultLdapsPort}[u.Scheme]
	}
	var dialer net.Dialer
	raw, err := dialer.DialContext(dialCtx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	secure := &tls.Config{RootCAs: roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	c := &conn{raw: raw, server: server, opened: p.now()}
	if u.Scheme == "ldaps" {
		over := tls.Client(raw, secure)
		if err := over.HandshakeContext(dialCtx); err != nil {
			raw.Close()
			return nil, fmt.Errorf("tls: %w", err)
		}
		c.Conn = ldap.NewConn(over, true)
	} else {
		c.Conn = ldap.NewConn(raw, false)
	}
	c.Conn.Start()
	if p.config.StartTLS {
		if err := c.run(dialCtx, func() error { return c.StartTLS(secure) }); err != nil {
			c.discard()
			return nil, fmt.Errorf("starttls: %w", err)
		}
	}
	bindCtx, cancel := context.WithTimeout(ctx, p.config.BindTimeout)
	defer cancel()
	if p.config.BindDN != "" {
		if err := c.run(bindCtx, func() error { return c.Bind(p.config.BindDN, password) }); err != nil {
			c.discard()
			if u.Scheme == "ldap" && !p.config.StartTLS && ldap.IsErrorAnyOf(err, ldap.LDAPResultStrongAuthRequired, ldap.LDAPResultConfidentialityRequired) {
				return nil, fmt.Errorf("bind: the server takes passwords over TLS only, use ldaps:// or startTLS: %w", err)
			}
			return nil, fmt.Errorf("bind: %w", err)
		}
	}
	if p.config.NestedGroups == NestedInChain {
		if err := c.run(bindCtx, c.knowsInChain); err != nil {
			c.discard()
			return nil, err
		}
	}
	return c, nil
}

// Capabilities that mean the matching rule in-chain is known: Active Directory
// and its lightweight edition ([MS-ADTS] 3.1.1.3.4.3).
var activeDirectory = []string{"1.2.840.113556.1.4.800", "1.2.840.113556.1.4.1851"}

// knowsInChain refuses servers to which the rule is unknown. They would take a
// filter with it for undefined and find no groups (RFC 4511, 4.5.1.7).
func (c *conn) knowsInChain() error {
	const attribute = "supportedCapabilities"
	answer, err := c.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", []string{attribute}, nil))
	if err != nil {
		return fmt.Errorf("nestedGroups inChain: root DSE: %w", err)
	}
	for _, entry := range answer.Entries {
		for _, capability := range entry.GetEqualFoldAttributeValues(attribute) {
			if slices.Contains(activeDirectory, capability) {
				return nil
			}
		}
	}
	return errors.New("nestedGroups inChain: the server is no Active Directory; use recursive")
}

// run does one exchange within ctx: when ctx ends, reads and writes on the
// socket fail, and the connection is of no further use.
func (c *conn) run(ctx context.Context, exchange func() error) error {
	release := context.AfterFunc(ctx, func() {
		// A socket without deadlines would be closed already.
		_ = c.raw.SetDeadline(time.Unix(1, 0))
	})
	err := exchange()
	if !release() {
		return context.Cause(ctx)
	}
	return err
}

func (c *conn) discard() {
	// go-ldap says goodbye inside Close; a stuck peer must not hold it up.
	_ = c.raw.SetDeadline(time.Unix(1, 0))
	_ = c.Conn.Close()
}

// serverOrder is the servers as configured, those that failed lately last.
func (p *pool) serverOrder() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var good, bad []int
	for i := range p.servers {
		if p.now().Sub(p.failed[i]) < avoidAfterFailure {
			bad = append(bad, i)
		} else {
			good = append(good, i)
		}
	}
	return append(good, bad...)
}

func (p *pool) markFailed(server int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed[server] = p.now()
}

// getIdle returns a kept connection that looks usable, or nil.
func (p *pool) getIdle() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if !c.IsClosing() && p.now().Sub(c.opened) < maxConnAge {
			return c
		}
		c.discard()
	}
	return nil
}

func (p *pool) putIdle(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed[c.server] = time.Time{}
	if p.closed {
		c.discard()
		return
	}
	p.idle = append(p.idle, c)
}

func (p *pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.discard()
	}
	p.idle = nil
}

func (p *pool) close() {
	p.closeIdle()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}
