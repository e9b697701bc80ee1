package ldap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
)

// ldapSearch is a search as a server gets it.
type ldapSearch struct {
	base, filter string
	attributes   []string
	paged        bool
}

// reply is what a scripted server says to a search.
type reply struct {
	entries []*ldap.Entry
	// references are to other servers, beside the entries.
	references []string
	code       uint16
}

// scriptedLDAP speaks LDAP as servers do that cannot be had here: Windows hands
// out values in ranges unasked, Samba only when asked to. Where slapd or Samba
// can do something, tests ask them.
type scriptedLDAP struct {
	URL    string
	answer func(ldapSearch) reply

	mu    sync.Mutex
	asked []ldapSearch
}

func newScriptedLDAP(t *testing.T, answer func(ldapSearch) reply) *scriptedLDAP {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &scriptedLDAP{URL: "ldap://" + listener.Addr().String(), answer: answer}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			serving.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	return s
}

func (s *scriptedLDAP) questions() []ldapSearch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]ldapSearch(nil), s.asked...)
}

func (s *scriptedLDAP) serve(c net.Conn) {
	defer c.Close()
	for {
		packet, err := ber.ReadPacket(c)
		if err != nil {
			return
		}
		id, request := packet.Children[0].Value.(int64), packet.Children[1]
		if request.Tag != ldap.ApplicationSearchRequest {
			if request.Tag == ldap.ApplicationBindRequest {
				_, _ = c.Write(result(id, ldap.ApplicationBindResponse, 0))
				continue
			}
			return
		}
		q := ldapSearch{base: request.Children[0].Data.String(), paged: len(packet.Children) > 2}
		if q.filter, err = ldap.DecompileFilter(request.Children[6]); err != nil {
			return
		}
		for _, a := range request.Children[7].Children {
			q.attributes = append(q.attributes, a.Data.String())
		}
		s.mu.Lock()
		s.asked = append(s.asked, q)
		s.mu.Unlock()
		r := s.answer(q)
		for _, e := range r.entries {
			_, _ = c.Write(entryPacket(id, e))
		}
		for _, url := range r.references {
			p := envelope(id)
			reference := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultReference, nil, "")
			reference.AppendChild(octets(url))
			p.AppendChild(reference)
			_, _ = c.Write(p.Bytes())
		}
		_, _ = c.Write(result(id, ldap.ApplicationSearchResultDone, r.code))
	}
}

func envelope(id int64) *ber.Packet {
	p := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	return p
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func result(id int64, tag ber.Tag, code uint16) []byte {
	p := envelope(id)
	done := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	done.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""))
	done.AppendChild(octets(""))
	done.AppendChild(octets(""))
	p.AppendChild(done)
	return p.Bytes()
}

func entryPacket(id int64, e *ldap.Entry) []byte {
	entry := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
	entry.AppendChild(octets(e.DN))
	attributes := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	for _, a := range e.Attributes {
		attribute := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		attribute.AppendChild(octets(a.Name))
		values := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range a.Values {
			values.AppendChild(octets(v))
		}
		attribute.AppendChild(values)
		attributes.AppendChild(attribute)
	}
	entry.AppendChild(attributes)
	p := envelope(id)
	p.AppendChild(entry)
	return p.Bytes()
}

// activeDirectoryOf is a server on which alice is in n groups. It hands out
// 1,500 values at a time and knows the in-chain rule; without a page it gives
// 1,000 entries and an error.
func activeDirectoryOf(t *testing.T, n int) *scriptedLDAP {
	const alice = "CN=Alice,OU=people,DC=ad,DC=example"
	dn := func(i int) string { return fmt.Sprintf("CN=g%d,OU=groups,DC=ad,DC=example", i) }
	return newScriptedLDAP(t, func(q ldapSearch) reply {
		switch {
		case q.base == "":
			return reply{entries: []*ldap.Entry{ldap.NewEntry("", map[string][]string{"supportedCapabilities": {"1.2.840.113556.1.4.800", "1.2.840.113556.1.4.1670"}})}}
		case q.filter == "(sAMAccountName=alice)" || strings.EqualFold(q.base, alice):
			from := 0
			for _, a := range q.attributes {
				_, _ = fmt.Sscanf(a, "memberOf;range=%d-*", &from)
			}
			to := min(from+1500, n)
			name := fmt.Sprintf("memberOf;range=%d-%d", from, to-1)
			if to == n {
				name = fmt.Sprintf("memberOf;range=%d-*", from)
			}
			attributes := map[string][]string{"sAMAccountName": {"Alice"}, "memberOf": nil, name: nil}
			for i := from; i < to; i++ {
				attributes[name] = append(attributes[name], dn(i))
			}
			return reply{entries: []*ldap.Entry{ldap.NewEntry(alice, attributes)}}
		case strings.Contains(q.filter, "member:"+inChain+":="+ldap.EscapeFilter(alice)):
			r := reply{}
			if !q.paged {
				r.code = ldap.LDAPResultSizeLimitExceeded
			}
			for _, name := range []string{"direct", "parent", "grandparent"} {
				r.entries = append(r.entries, ldap.NewEntry("CN="+name+",OU=groups,DC=ad,DC=example", nil))
			}
			return r
		default:
			return reply{}
		}
	})
}

// cutting passes on what client and server say, and hangs up after so many
// bytes of the server's.
func cutting(t *testing.T, server string, after int64) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			passing.Go(func() {
				defer client.Close()
				upstream, err := net.Dial("tcp", strings.TrimPrefix(server, "ldap://"))
				if err != nil {
					return
				}
				defer upstream.Close()
				passing.Go(func() {
					_, _ = io.Copy(upstream, client)
					upstream.Close()
				})
				if _, err := io.CopyN(client, upstream, after); errors.Is(err, io.EOF) {
					return
				}
			})
		}
	})
	t.Cleanup(func() { listener.Close(); passing.Wait() })
	return "ldap://" + listener.Addr().String()
}
