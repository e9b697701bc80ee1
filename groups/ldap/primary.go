package ldap

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/elastichub/elastichub/groups"
)

// Attributes by which Active Directory says a user's primary group, usually
// Domain Users. It is in no memberOf and has no member for it.
const (
	objectSID      = "objectSid"
	primaryGroupID = "primaryGroupID"
)

// primaryGroup returns the DN of the user's primary group. It is empty in
// directories that have no such thing, when we may not see the group, and
// behind a proxy that does not know how to ask for it.
func (s *Source) primaryGroup(ctx context.Context, c *conn, user *ldap.Entry) (string, error) {
	number := user.GetEqualFoldAttributeValue(primaryGroupID)
	sid := user.GetEqualFoldRawAttributeValue(objectSID)
	if number == "" || len(sid) == 0 {
		return "", nil
	}
	group, err := siblingSID(sid, number)
	if err != nil {
		return "", fmt.Errorf("%w: primary group: %w", groups.ErrOneUser, err)
	}
	// Any object can be named by its SID ([MS-ADTS] 3.1.1.3.1.2.4).
	entry, err := s.read(ctx, c, "<SID="+group+">", "1.1")
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read primary group: %w", err)
	}
	return entry.DN, nil
}

// siblingSID is the text of a SID ([MS-DTYP] 2.4.2) whose last number, which
// is the one within the domain, is replaced.
func siblingSID(sid []byte, number string) (string, error) {
	const head, word = 8, 4
	if len(sid) < head+word || sid[0] != 1 || len(sid) != head+word*int(sid[1]) {
		return "", fmt.Errorf("not a SID: %.80x", sid)
	}
	if _, err := strconv.ParseUint(number, 10, 32); err != nil {
		return "", fmt.Errorf("%s: %w", primaryGroupID, err)
	}
	var authority [8]byte
	copy(authority[2:], sid[2:head])
	var b strings.Builder
	fmt.Fprintf(&b, "S-1-%d", binary.BigEndian.Uint64(authority[:]))
	for at := head; at < len(sid)-word; at += word {
		fmt.Fprintf(&b, "-%d", binary.LittleEndian.Uint32(sid[at:]))
	}
	return b.String() + "-" + number, nil
}
