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

// groupClasses are what groups are in the schemas of RFC 2256, 2307 and 2307bis and in
// Active Directory; a class that a server does not know matches nothing.
var groupClasses = []string{"groupOfNames", "groupOfUniqueNames", "groupOfMembers", "posixGroup", "group"}

// Lists implements groups.Lister: without GroupBase nobody knows where groups are.
func (s *Source) Lists() bool { return s.config.GroupBase != "" }

// ListGroups implements groups.Lister.
func (s *Source) ListGroups(ctx context.Context, part string, limit int) (found []groups.ListedGroup, more bool, err error) {
	err = s.pool.do(ctx, func(ctx context.Context, c *conn) error {
		found, more, err = s.listGroups(ctx, c, part, limit)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("%w: ldap: %w", groups.ErrUnavailable, err)
	}
	return found, more, nil
}

// listGroups reads one page; what is beyond it is only counted as more.
func (s *Source) listGroups(ctx context.Context, c *conn, part string, limit int) (found []groups.ListedGroup, more bool, err error) {
	paging := ldap.NewControlPaging(uint32(limit) + 1)
	page, err := s.searchPage(ctx, c, ldap.NewSearchRequest(s.config.GroupBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases,
		0, s.serverSeconds(), false, listFilter(s.config, part), s.config.GroupMemberAttributes, []ldap.Control{paging}))
	if err != nil {
		return nil, false, fmt.Errorf("list groups: %w", err)
	}
	if len(page.Referrals) > 0 && s.config.Referrals == ReferralsFail {
		return nil, false, fmt.Errorf("part of the answer is elsewhere, such as at %.200q; referrals are not followed", page.Referrals[0])
	}
	answer, paged := ldap.FindControl(page.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
	for _, e := range page.Entries {
		name, err := naming.GroupName(e.DN)
		if err != nil {
			s.invalid.logOnce("dn", e.DN, err)
			continue
		}
		g := groups.ListedGroup{Group: groups.Group{Name: name, DN: e.DN}}
		g.Members, g.More = s.countMembers(e)
		found = append(found, g)
	}
	found, more = groups.FirstGroups(found, limit)
	return found, more || paged && len(answer.Cookie) > 0, nil
}

// countMembers counts what an entry lists, each once; Active Directory gives the first
// of a long list, as member;range=0-1499 ([MS-ADTS] 3.1.1.3.1.3.3).
func (s *Source) countMembers(e *ldap.Entry) (n int, more bool) {
	seen := map[string]bool{}
	for _, a := range e.Attributes {
		name, option, _ := strings.Cut(a.Name, ";")
		if !slices.ContainsFunc(s.config.GroupMemberAttributes, func(member string) bool { return strings.EqualFold(member, name) }) {
			continue
		}
		for _, value := range a.Values {
			seen[value] = true
		}
		more = more || strings.HasPrefix(option, "range=") && !strings.HasSuffix(option, "-*")
	}
	return len(seen), more
}

// listFilter finds groups by a part of their name.
func listFilter(c Config, part string) string {
	var anyOf strings.Builder
	for _, class := range groupClasses {
		anyOf.WriteString(equals("objectClass", class))
	}
	for _, attribute := range c.GroupMemberAttributes {
		anyOf.WriteString("(" + attribute + "=*)")
	}
	filter := and(c.GroupFilter, "(|"+anyOf.String()+")")
	if part != "" {
		filter = and(filter, "(cn=*"+ldap.EscapeFilter(part)+"*)")
	}
	return filter
}
