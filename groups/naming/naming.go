// Package naming compares the names of users and groups, and distinguished
// names (RFC 4514), so that policies and every source mean the same by a name.
package naming

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
)

// maxDNBytes bounds what is parsed as a distinguished name.
const maxDNBytes = 4096

// Fold maps names that a directory takes for equal by case alone to the
// same text. ASCII letters and other letters are folded apart, so that no
// look-alike (the Kelvin sign, the long s, full-width letters) ever folds to
// an ASCII letter. Text that is not UTF-8 equals only itself.
func Fold(s string) string {
	if !utf8.ValidString(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		lower := unicode.ToLower(r)
		if r > unicode.MaxASCII && lower <= unicode.MaxASCII {
			return r
		}
		return lower
	}, s)
}

// Same reports whether two names differ by case alone; look-alikes do not.
func Same(a, b string) bool { return Fold(a) == Fold(b) }

// CanonicalDN is one text for every spelling of a DN: escapes undone and
// redone, spaces around separators dropped, case folded, multi-valued RDNs
// sorted (RFC 4514, compared by caseIgnoreMatch throughout).
func CanonicalDN(text string) (string, error) {
	if known, ok := canonical.get(text); ok {
		return known, nil
	}
	dn, err := ParseDN(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, rdn := range dn.RDNs {
		if i > 0 {
			b.WriteByte(',')
		}
		parts := make([]string, 0, len(rdn.Attributes))
		for _, a := range rdn.Attributes {
			parts = append(parts, shortType(a.Type)+"="+ldap.EscapeDN(Fold(a.Value)))
		}
		slices.Sort(parts)
		b.WriteString(strings.Join(parts, "+"))
	}
	canonical.put(text, b.String())
	return b.String(), nil
}

// Bounds of the DNs that are remembered: about 4 MB at most.
const (
	rememberedDNs     = 8192
	rememberedDNBytes = 256
)

// canonical remembers what CanonicalDN has found: parsing the groups of one
// user takes longer than all else about them, and users share their groups.
var canonical = dnMemo{found: map[string]string{}}

type dnMemo struct {
	mu    sync.RWMutex
	found map[string]string
}

func (m *dnMemo) get(text string) (string, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	known, ok := m.found[text]
	return known, ok
}

func (m *dnMemo) put(text, found string) {
	if len(text) > rememberedDNBytes || len(found) > rememberedDNBytes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.found) >= rememberedDNs {
		clear(m.found)
	}
	m.found[text] = found
}

// shortTypes are the other spellings of the attribute types that DNs are made
// of (RFC 4514, 3; RFC 4519, 2).
var shortTypes = map[string]string{
	"2.5.4.3": "cn", "commonname": "cn",
	"2.5.4.6": "c", "countryname": "c",
	"2.5.4.7": "l", "localityname": "l",
	"2.5.4.8": "st", "stateorprovincename": "st",
	"2.5.4.9": "street", "streetaddress": "street",
	"2.5.4.10": "o", "organizationname": "o",
	"2.5.4.11": "ou", "organizationalunitname": "ou",
	"0.9.2342.19200300.100.1.25": "dc", "domaincomponent": "dc",
	"0.9.2342.19200300.100.1.1": "uid", "userid": "uid",
}

func shortType(name string) string {
	folded := Fold(name)
	if short, known := shortTypes[folded]; known {
		return short
	}
	return folded
}

// GroupName is the name that a policy may name a group by: the cn of its first
// RDN. One that is named by something else gets that, type and all, which is
// the name of no group: ou=staff is not staff.
func GroupName(text string) (string, error) {
	dn, err := ParseDN(text)
	if err != nil {
		return "", err
	}
	first := dn.RDNs[0].Attributes
	for _, a := range first {
		if shortType(a.Type) == "cn" {
			return a.Value, nil
		}
	}
	return shortType(first[0].Type) + "=" + first[0].Value, nil
}

// Below reports whether an entry is a base or in its subtree; both are canonical.
func Below(entry, base string) bool {
	return base == "" || entry == base || strings.HasSuffix(entry, ","+base)
}

func ParseDN(text string) (*ldap.DN, error) {
	if len(text) > maxDNBytes {
		return nil, fmt.Errorf("a DN of %d bytes is longer than %d", len(text), maxDNBytes)
	}
	if !utf8.ValidString(text) {
		return nil, errors.New("not a DN: not UTF-8")
	}
	dn, err := ldap.ParseDN(text)
	if err != nil {
		return nil, fmt.Errorf("not a DN: %w", err)
	}
	if len(dn.RDNs) == 0 {
		return nil, errors.New("not a DN: empty")
	}
	for _, rdn := range dn.RDNs {
		for _, a := range rdn.Attributes {
			// Escapes can spell any bytes; unlike ones must not fold together.
			if !utf8.ValidString(a.Value) {
				return nil, errors.New("not a DN: a value is not UTF-8")
			}
		}
	}
	return dn, nil
}

// LooksLikeDN tells an entry of a policy's groups that is meant as a DN from
// one that is a plain name.
func LooksLikeDN(entry string) bool { return strings.Contains(entry, "=") }
