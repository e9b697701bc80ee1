package ldap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/naming"
)

const (
	memberUID = "memberUid"
	// maxUserBytes is longer than any name the Hub stores (255 characters).
	maxUserBytes = 1024
	// maxGroups bounds the groups of one user.
	maxGroups = 10_000
	// maxCandidates bounds the entries that may match one user name.
	maxCandidates = 16
	// pageSize stays below the 1,000 that Active Directory gives at a time.
	pageSize = 500
)

// Source is a groups.Source that asks a directory. An entry is a user's only if
// its UserAttribute has the user's name but for case: matching rules of
// directories ignore spaces, widths and more, and are not relied upon.
type Source struct {
	config  Config
	base    string // of groups, canonical; empty if they count wherever they are
	pool    *pool
	now     func() time.Time
	invalid invalidDNs
}

// New reads the files once, to find faults early, and connects at the first lookup.
func New(config Config, now func() time.Time) (*Source, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("ldap: %w", err)
	}
	pool, err := newPool(config, now)
	if err != nil {
		return nil, fmt.Errorf("ldap: %w", err)
	}
	s := &Source{config: config, pool: pool, now: now}
	if config.GroupBase != "" {
		if s.base, err = naming.CanonicalDN(config.GroupBase); err != nil {
			return nil, fmt.Errorf("ldap: groupBase: %w", err)
		}
	}
	return s, nil
}

// Close ends the connections that are not in use; those in use end after it.
func (s *Source) Close() { s.pool.close() }

// Lookup implements groups.Source. A directory that says anything but a
// complete answer is groups.ErrUnavailable.
func (s *Source) Lookup(ctx context.Context, user string) (groups.Membership, error) {
	if user == "" || len(user) > maxUserBytes || !utf8.ValidString(user) {
		return groups.Membership{}, groups.ErrUnknownUser
	}
	m := groups.Membership{User: user, Source: "ldap"}
	var known bool
	err := s.pool.do(ctx, func(ctx context.Context, c *conn) error {
		// The answer is from when the question was asked.
		m.AsOf, m.Groups = s.now(), nil
		var err error
		m.Groups, known, err = s.lookup(ctx, c, user)
		return err
	})
	if errors.Is(err, groups.ErrOneUser) {
		return groups.Membership{}, fmt.Errorf("ldap: %w", err)
	}
	if err != nil {
		return groups.Membership{}, fmt.Errorf("%w: ldap: %w", groups.ErrUnavailable, err)
	}
	if !known {
		return groups.Membership{}, groups.ErrUnknownUser
	}
	return m, nil
}

func (s *Source) lookup(ctx context.Context, c *conn, user string) (all []groups.Group, known bool, err error) {
	entry, name, err := s.findUser(ctx, c, user)
	if err != nil || entry == nil {
		return nil, false, err
	}
	primary, err := s.primaryGroup(ctx, c, entry)
	if err != nil {
		return nil, false, err
	}
	// What is searched has passed the filter, and need not be read one by one.
	searched := newGroupSet()
	if s.config.searches() {
		if err := s.addFound(ctx, c, groupFilter(s.config, entry.DN, name, primary), searched); err != nil {
			return nil, false, err
		}
	}
	found := newGroupSet()
	found.passed = searched.seen
	if s.config.MemberOfAttribute != "" {
		if err := s.addMemberOf(ctx, c, entry, found); err != nil {
			return nil, false, err
		}
		if primary != "" {
			if err := s.addNamed(ctx, c, primary, found); err != nil {
				return nil, false, err
			}
		}
	}
	for _, g := range searched.groups {
		if err := found.add(g.DN); err != nil {
			return nil, false, err
		}
	}
	if s.config.NestedGroups == NestedRecursive {
		if err := s.addNested(ctx, c, found); err != nil {
			return nil, false, err
		}
	}
	return found.groups, true, nil
}

// findUser returns the one entry whose UserAttribute is the user's name, and
// the name as the directory spells it; nil when there is none.
func (s *Source) findUser(ctx context.Context, c *conn, user string) (*ldap.Entry, string, error) {
	attributes := []string{s.config.UserAttribute, objectSID, primaryGroupID}
	if s.config.MemberOfAttribute != "" {
		attributes = append(attributes, s.config.MemberOfAttribute)
	}
	entries, err := s.search(ctx, c, s.config.UserBase, userFilter(s.config, user), attributes, maxCandidates)
	if err != nil {
		return nil, "", fmt.Errorf("search user: %w", err)
	}
	var found *ldap.Entry
	var name string
	for _, e := range entries {
		for _, value := range e.GetEqualFoldAttributeValues(s.config.UserAttribute) {
			if naming.Fold(value) != naming.Fold(user) {
				continue
			}
			if found != nil {
				return nil, "", fmt.Errorf("%w: several entries have the user's name", groups.ErrOneUser)
			}
			found, name = e, value
			break
		}
	}
	return found, name, nil
}

// userFilter finds candidates for a user.
func userFilter(c Config, user string) string {
	return and(c.UserFilter, equals(c.UserAttribute, user))
}

// equals escapes the value (RFC 4515, section 3).
func equals(attribute, value string) string {
	return "(" + attribute + "=" + ldap.EscapeFilter(value) + ")"
}

// and joins filters; first may be empty or lack parentheses.
func and(first, second string) string {
	if first == "" {
		return second
	}
	if !strings.HasPrefix(first, "(") {
		first = "(" + first + ")"
	}
	return "(&" + first + second + ")"
}

// search reads all pages of a search, or fails at more than limit entries.
func (s *Source) search(ctx context.Context, c *conn, base, filter string, attributes []string, limit int) ([]*ldap.Entry, error) {
	paging := ldap.NewControlPaging(pageSize)
	request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases,
		0, s.serverSeconds(), false, filter, attributes, []ldap.Control{paging})
	var all []*ldap.Entry
	for {
		page, err := s.searchPage(ctx, c, request)
		if err != nil {
			return nil, err
		}
		if len(page.Referrals) > 0 && s.config.Referrals == ReferralsFail {
			return nil, fmt.Errorf("part of the answer is elsewhere, such as at %.200q; referrals are not followed", page.Referrals[0])
		}
		all = append(all, page.Entries...)
		if len(all) > limit {
			return nil, fmt.Errorf("%w: more than %d entries", groups.ErrOneUser, limit)
		}
		answer, paged := ldap.FindControl(page.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !paged || len(answer.Cookie) == 0 {
			return all, nil
		}
		paging.SetCookie(answer.Cookie)
	}
}

// serverSeconds is the time after which the server is to stop; ours is SearchTimeout.
func (s *Source) serverSeconds() int {
	return int((s.config.SearchTimeout + time.Second - 1) / time.Second)
}

func (s *Source) searchPage(ctx context.Context, c *conn, request *ldap.SearchRequest) (page *ldap.SearchResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.SearchTimeout)
	defer cancel()
	err = c.run(ctx, func() error {
		page, err = c.Search(request)
		return err
	})
	return page, err
}
