package ldap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/naming"
)

const (
	// inChain is LDAP_MATCHING_RULE_IN_CHAIN ([MS-ADTS] 3.1.1.3.4.4.3): the
	// value, or a member of the value, or a member of that, and so on.
	inChain = "1.2.840.113556.1.4.1941"
	// groupsPerSearch bounds a filter: servers refuse very long ones.
	groupsPerSearch = 50
	// maxGroupReads bounds the single groups that are read for one user.
	maxGroupReads = 1000
)

// addMemberOf adds the groups that an entry says it is a member of, as far as
// they count.
func (s *Source) addMemberOf(ctx context.Context, c *conn, entry *ldap.Entry, found *groupSet) error {
	dns, err := s.values(ctx, c, entry, s.config.MemberOfAttribute, maxGroups)
	if err != nil {
		return fmt.Errorf("%s: %w", s.config.MemberOfAttribute, err)
	}
	for _, dn := range dns {
		if err := s.addNamed(ctx, c, dn, found); err != nil {
			return err
		}
	}
	return nil
}

// addNamed adds a group that an entry names, if it is below GroupBase and
// passes GroupFilter. What is no DN is left out: no policy can name it.
func (s *Source) addNamed(ctx context.Context, c *conn, dn string, found *groupSet) error {
	key, err := naming.CanonicalDN(dn)
	if err != nil {
		s.invalid.logOnce(s.config.MemberOfAttribute, dn, err)
		return nil
	}
	if found.seen[key] || found.refused[key] || !naming.Below(key, s.base) {
		return nil
	}
	if s.config.GroupFilter != "" && !found.passed[key] {
		passes, err := s.passes(ctx, c, dn, found)
		if err != nil {
			return err
		}
		if !passes {
			found.refused[key] = true
			return nil
		}
	}
	return found.add(dn)
}

// passes reports whether an entry is a group as GroupFilter has it. One that is
// not there, or that we may not see, is none.
func (s *Source) passes(ctx context.Context, c *conn, dn string, found *groupSet) (bool, error) {
	if err := found.read(); err != nil {
		return false, err
	}
	answer, err := s.searchPage(ctx, c, ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases,
		1, s.serverSeconds(), false, and(s.config.GroupFilter, "(objectClass=*)"), []string{"1.1"}, nil))
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read group: %w", err)
	}
	return len(answer.Entries) > 0, nil
}

// addFound adds the groups below GroupBase that a filter finds.
func (s *Source) addFound(ctx context.Context, c *conn, filter string, found *groupSet) error {
	// 1.1 asks for no attributes (RFC 4511, 4.5.1.8): the DN is all we need.
	entries, err := s.search(ctx, c, s.config.GroupBase, filter, []string{"1.1"}, maxGroups)
	if err != nil {
		return fmt.Errorf("search groups: %w", err)
	}
	for _, e := range entries {
		if err := found.add(e.DN); err != nil {
			return err
		}
	}
	return nil
}

// addNested adds the groups of the groups found, level by level. Every group
// is asked about once, so that circles end.
func (s *Source) addNested(ctx context.Context, c *conn, found *groupSet) error {
	expand := s.addParentsByRead
	if s.config.searches() {
		expand = s.addParentsBySearch
	}
	done := 0
	// One level more than may be followed reports whether there is more.
	for level := 0; done < len(found.groups); level++ {
		above := found.groups[done:]
		done = len(found.groups)
		if err := expand(ctx, c, above, found); err != nil {
			return err
		}
		if level == s.config.NestingDepth && done < len(found.groups) {
			return fmt.Errorf("%w: groups nest deeper than %d levels, as %.200q does", groups.ErrOneUser, s.config.NestingDepth, found.groups[done].DN)
		}
	}
	return nil
}

func (s *Source) addParentsBySearch(ctx context.Context, c *conn, children []groups.Group, found *groupSet) error {
	for some := range slices.Chunk(children, groupsPerSearch) {
		filter := parentFilter(s.config, some)
		if filter == "" {
			return nil
		}
		if err := s.addFound(ctx, c, filter, found); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) addParentsByRead(ctx context.Context, c *conn, children []groups.Group, found *groupSet) error {
	for _, group := range children {
		if err := found.read(); err != nil {
			return err
		}
		entry, err := s.read(ctx, c, group.DN, s.config.MemberOfAttribute)
		if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
			continue // a memberOf that points at nothing, or at nothing we may see
		}
		if err != nil {
			return fmt.Errorf("read group: %w", err)
		}
		if err := s.addMemberOf(ctx, c, entry, found); err != nil {
			return err
		}
	}
	return nil
}

// groupFilter finds the groups that list a user, and the user's primary group,
// which does not and may be empty.
func groupFilter(c Config, userDN, name, primaryDN string) string {
	var anyOf strings.Builder
	if primaryDN != "" {
		anyOf.WriteString(equals("distinguishedName", primaryDN))
	}
	for _, attribute := range c.GroupMemberAttributes {
		switch {
		case strings.EqualFold(attribute, memberUID):
			anyOf.WriteString(equals(attribute, name))
		case c.NestedGroups == NestedInChain && isMember(attribute):
			anyOf.WriteString(equals(attribute+":"+inChain+":", userDN))
			if primaryDN != "" {
				anyOf.WriteString(equals(attribute+":"+inChain+":", primaryDN))
			}
		default:
			anyOf.WriteString(equals(attribute, userDN))
		}
	}
	return and(c.GroupFilter, "(|"+anyOf.String()+")")
}

// parentFilter finds the groups that list any of the groups; it is empty when
// groups list user names only.
func parentFilter(c Config, children []groups.Group) string {
	var anyOf strings.Builder
	for _, attribute := range c.GroupMemberAttributes {
		if strings.EqualFold(attribute, memberUID) {
			continue
		}
		for _, child := range children {
			anyOf.WriteString(equals(attribute, child.DN))
		}
	}
	if anyOf.Len() == 0 {
		return ""
	}
	return and(c.GroupFilter, "(|"+anyOf.String()+")")
}

// groupSet collects groups, each DN once however it is spelt.
type groupSet struct {
	groups []groups.Group
	seen   map[string]bool
	// reads counts the groups that were read one by one.
	reads int
	// passed are those of which it is known that GroupFilter lets them pass,
	// refused those that it does not.
	passed, refused map[string]bool
}

func newGroupSet() *groupSet {
	return &groupSet{seen: map[string]bool{}, refused: map[string]bool{}}
}

// read counts one more group to read.
func (g *groupSet) read() error {
	if g.reads++; g.reads > maxGroupReads {
		return fmt.Errorf("%w: more than %d groups to read", groups.ErrOneUser, maxGroupReads)
	}
	return nil
}

func (g *groupSet) add(dn string) error {
	key, err := naming.CanonicalDN(dn)
	if err != nil {
		return fmt.Errorf("%w: group: %w", groups.ErrOneUser, err)
	}
	if g.seen[key] {
		return nil
	}
	if len(g.groups) >= maxGroups {
		return fmt.Errorf("%w: more than %d groups", groups.ErrOneUser, maxGroups)
	}
	name, err := naming.GroupName(dn)
	if err != nil {
		return fmt.Errorf("%w: group: %w", groups.ErrOneUser, err)
	}
	g.seen[key] = true
	g.groups = append(g.groups, groups.Group{Name: name, DN: dn})
	return nil
}
