package ldap

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/elastichub/elastichub/groups"
)

// values returns all values of an entry's attribute. Active Directory hands
// out 1,500 at a time, as memberOf;range=0-1499, and waits to be asked for
// memberOf;range=1500-* ([MS-ADTS] 3.1.1.3.1.3.3).
func (s *Source) values(ctx context.Context, c *conn, entry *ldap.Entry, attribute string, limit int) ([]string, error) {
	all, next, err := span(entry, attribute, 0)
	for err == nil && next > 0 {
		if len(all) > limit {
			return nil, fmt.Errorf("%w: more than %d values", groups.ErrOneUser, limit)
		}
		if entry, err = s.read(ctx, c, entry.DN, fmt.Sprintf("%s;range=%d-*", attribute, next)); err != nil {
			return nil, err
		}
		asked := next
		var more []string
		if more, next, err = span(entry, attribute, asked); err == nil && len(more) == 0 {
			err = fmt.Errorf("values from %d on are missing", asked)
		}
		all = append(all, more...)
	}
	return all, err
}

// span returns the values that an entry has of an attribute, which begin with
// the one numbered from; next is the number of the first that is not here, 0
// when these are the last.
func span(entry *ldap.Entry, attribute string, from int) (values []string, next int, err error) {
	for _, a := range entry.Attributes {
		name, option, _ := strings.Cut(a.Name, ";")
		if !strings.EqualFold(name, attribute) {
			continue
		}
		bounds, ranged := cutPrefixFold(option, "range=")
		if !ranged {
			values = append(values, a.Values...)
			continue
		}
		low, high, _ := strings.Cut(bounds, "-")
		first, err := strconv.Atoi(low)
		if err != nil || first != from {
			return nil, 0, fmt.Errorf("asked for values from %d on, got %.50q", from, a.Name)
		}
		values = append(values, a.Values...)
		if high == "*" {
			continue
		}
		last, err := strconv.Atoi(high)
		if err != nil || last-first+1 != len(a.Values) {
			return nil, 0, fmt.Errorf("%d values in %.50q", len(a.Values), a.Name)
		}
		next = last + 1
	}
	return values, next, nil
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// read returns one entry by its DN.
func (s *Source) read(ctx context.Context, c *conn, dn, attribute string) (*ldap.Entry, error) {
	answer, err := s.searchPage(ctx, c, ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases,
		1, s.serverSeconds(), false, "(objectClass=*)", []string{attribute}, nil))
	if err != nil {
		return nil, err
	}
	if len(answer.Entries) != 1 {
		return nil, fmt.Errorf("%d entries for one DN", len(answer.Entries))
	}
	return answer.Entries[0], nil
}
