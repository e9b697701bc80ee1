package ldap

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/elastichub/elastichub/groups/naming"
)

// Config says which directory to ask and how users and groups look there.
type Config struct {
	// URLs are the servers, ldap://host[:port] or ldaps://host[:port]. The
	// first that answers is used.
	URLs []string
	// StartTLS upgrades ldap:// connections before anything is sent on them.
	StartTLS bool
	// AllowPlaintext permits ldap:// without StartTLS.
	AllowPlaintext bool
	// CAFile holds the PEM certificates that may sign the servers'; empty
	// means those of the system. The names in the URLs are verified. It is
	// read for every connection, as BindPasswordFile is.
	CAFile string

	// BindDN and the password in BindPasswordFile are the account to search
	// with; both empty means anonymous.
	BindDN           string
	BindPasswordFile string

	// UserBase is where users are searched, in its whole subtree.
	UserBase string
	// UserAttribute holds the Hub user name: uid, sAMAccountName.
	UserAttribute string
	// UserFilter further restricts who is a user; empty means nothing more.
	UserFilter string

	// MemberOfAttribute of the user's entry lists DNs of groups; empty means
	// it is not read.
	MemberOfAttribute string
	// GroupBase is where groups are: those elsewhere do not count, whoever names
	// them. Groups that list their members are searched there. Empty means that
	// they are not searched, and that those in MemberOfAttribute count wherever
	// they are.
	GroupBase string
	// GroupFilter further restricts what is a group.
	GroupFilter string
	// GroupMemberAttributes list the members: memberUid by user name, every
	// other by DN. None means that groups are not searched.
	GroupMemberAttributes []string
	// NestedGroups says whether groups of groups count, and NestingDepth how
	// many levels above the user's own groups are followed; a directory with
	// more is an error.
	NestedGroups NestedGroups
	NestingDepth int
	// Referrals says what a reference to another server means.
	Referrals Referrals

	// DialTimeout covers TCP and TLS, BindTimeout and SearchTimeout one
	// operation each, all of one server. A lookup has several; a deadline of
	// the caller bounds it over all servers.
	DialTimeout   time.Duration
	BindTimeout   time.Duration
	SearchTimeout time.Duration
	// PoolSize is the most connections at a time.
	PoolSize int
}

// NestedGroups is a way to groups that have groups as members.
type NestedGroups string

// Ways to nested groups.
const (
	// NestedNone counts the groups that name the user.
	NestedNone NestedGroups = "none"
	// NestedInChain leaves it to Active Directory, which knows a matching rule
	// for it (LDAP_MATCHING_RULE_IN_CHAIN). Another server is refused: it
	// would find nothing and not say why.
	NestedInChain NestedGroups = "inChain"
	// NestedRecursive asks for the groups of groups, level by level: by the
	// lists of members if GroupBase is set, else by MemberOfAttribute.
	NestedRecursive NestedGroups = "recursive"
)

// Referrals is what to do with references to other servers. They are never
// followed: that would be to send questions, and perhaps a password, where
// nobody configured it.
type Referrals string

// What a reference beside the entries of an answer means. An answer that is
// nothing but a referral is always an error.
const (
	// ReferralsFail: the answer is incomplete, which is an error.
	ReferralsFail Referrals = "fail"
	// ReferralsIgnore: what is elsewhere is not wanted.
	ReferralsIgnore Referrals = "ignore"
)

// maxNestingDepth bounds NestingDepth.
const maxNestingDepth = 100

// DefaultConfig is everything that does not depend on the site.
func DefaultConfig() Config {
	return Config{
		StartTLS:              true,
		UserAttribute:         "uid",
		MemberOfAttribute:     "memberOf",
		GroupMemberAttributes: []string{"member", "uniqueMember", memberUID},
		NestedGroups:          NestedNone,
		NestingDepth:          10,
		Referrals:             ReferralsFail,
		DialTimeout:           2 * time.Second,
		BindTimeout:           2 * time.Second,
		SearchTimeout:         3 * time.Second,
		PoolSize:              4,
	}
}

// Configured reports whether the site has this source.
func (c Config) Configured() bool { return len(c.URLs) > 0 }

// Validate returns all faults.
func (c Config) Validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf(field+": "+format, args...))
	}
	if len(c.URLs) == 0 {
		fault("urls", "name at least one server")
	}
	for i, raw := range c.URLs {
		if err := c.validateURL(raw); err != nil {
			fault(fmt.Sprintf("urls[%d]", i), "%w", err)
		}
	}
	if (c.BindDN == "") != (c.BindPasswordFile == "") {
		// A bind with a name and no password succeeds as anonymous (RFC 4513, 5.1.2).
		fault("bindPasswordFile", "bindDN and bindPasswordFile go together")
	}
	for _, dn := range []struct {
		field, value string
		optional     bool
	}{{"bindDN", c.BindDN, true}, {"userBase", c.UserBase, false}, {"groupBase", c.GroupBase, true}} {
		if dn.value == "" && dn.optional {
			continue
		}
		if _, err := naming.ParseDN(dn.value); err != nil {
			fault(dn.field, "%w", err)
		}
	}
	for field, filter := range map[string]string{"userFilter": c.UserFilter, "groupFilter": c.GroupFilter} {
		if filter == "" {
			continue
		}
		if _, err := ldap.CompileFilter(filter); err != nil {
			fault(field, "%w", err)
		}
	}
	if !attributeName(c.UserAttribute) {
		fault("userAttribute", "not the name of an attribute: %q", c.UserAttribute)
	}
	if c.MemberOfAttribute != "" && !attributeName(c.MemberOfAttribute) {
		fault("memberOfAttribute", "not the name of an attribute: %q", c.MemberOfAttribute)
	}
	if c.MemberOfAttribute == "" && c.GroupBase == "" {
		fault("groupBase", "set groupBase, memberOfAttribute or both")
	}
	if c.MemberOfAttribute == "" && len(c.GroupMemberAttributes) == 0 {
		fault("groupMemberAttributes", "name at least one, or memberOfAttribute")
	}
	for i, name := range c.GroupMemberAttributes {
		if !attributeName(name) {
			fault(fmt.Sprintf("groupMemberAttributes[%d]", i), "not the name of an attribute: %q", name)
		}
	}
	switch c.NestedGroups {
	case NestedNone, NestedRecursive:
	case NestedInChain:
		if c.GroupBase == "" || !slices.ContainsFunc(c.GroupMemberAttributes, isMember) {
			fault("nestedGroups", "inChain needs groupBase, and member among groupMemberAttributes")
		}
	default:
		fault("nestedGroups", "%q is not one of none, inChain, recursive", c.NestedGroups)
	}
	if c.NestingDepth < 1 || c.NestingDepth > maxNestingDepth {
		fault("nestingDepth", "must be from 1 to %d", maxNestingDepth)
	}
	if c.Referrals != ReferralsFail && c.Referrals != ReferralsIgnore {
		fault("referrals", "%q is not one of fail, ignore", c.Referrals)
	}
	for field, d := range map[string]time.Duration{"dialTimeout": c.DialTimeout, "bindTimeout": c.BindTimeout, "searchTimeout": c.SearchTimeout} {
		if d <= 0 {
			fault(field, "must be more than 0")
		}
	}
	if c.PoolSize < 1 || c.PoolSize > 64 {
		fault("poolSize", "must be from 1 to 64")
	}
	return errors.Join(faults...)
}

// searches reports whether groups are searched by their members.
func (c Config) searches() bool { return c.GroupBase != "" && len(c.GroupMemberAttributes) > 0 }

func (c Config) validateURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	if u.Hostname() == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("must be scheme, host and port only: %q", u.Redacted())
	}
	switch {
	case u.Scheme == "ldaps" && c.StartTLS:
		return errors.New("startTLS is for ldap:// only")
	case u.Scheme == "ldap" && !c.StartTLS && !c.AllowPlaintext:
		return errors.New("ldap:// needs startTLS, or allowPlaintext")
	case u.Scheme != "ldap" && u.Scheme != "ldaps":
		return fmt.Errorf("scheme must be ldap or ldaps, not %q", u.Scheme)
	}
	return nil
}

// isMember: Active Directory's in-chain rule is for links, of which member is one.
func isMember(attribute string) bool { return strings.EqualFold(attribute, "member") }

// attributeName admits short names and OIDs (RFC 4512, 2.5), without options.
func attributeName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.') {
			return false
		}
	}
	return true
}
