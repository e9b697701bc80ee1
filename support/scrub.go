package support

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/podrules"
)

const (
	shortestName   = 2 // bytes of a name that is replaced; one letter is everywhere
	shortestSecret = 6 // bytes of a value of a Secret that is; "true" is everywhere, too
	hidden         = "(hidden)"
)

// Scrubber takes out of texts what is nobody else's business. Not safe for use by several goroutines.
type Scrubber struct {
	names   *node
	stands  map[string]string // what stands for each user
	secrets *strings.Replacer
}

// node is one byte of the names.
type node struct {
	next   map[byte]*node
	stands string // of the name that ends here; empty: none does
}

// NewScrubber takes the users' names and all values of Secrets that are known. The same user is the
// same "user-N" in every text, N by the order of the names.
func NewScrubber(users []string, secrets [][]byte) *Scrubber {
	s := &Scrubber{names: &node{}, stands: map[string]string{}}
	users = slices.Compact(slices.Sorted(slices.Values(users)))
	for _, user := range users {
		if len(user) < shortestName {
			continue
		}
		stands := fmt.Sprintf("user-%d", len(s.stands)+1)
		s.stands[user] = stands
		for _, form := range []string{user, podrules.Readable(user, len(user))} {
			s.add(form, stands)
		}
	}
	var pairs []string
	for _, secret := range secrets {
		for _, form := range forms(string(secret)) {
			pairs = append(pairs, form, hidden)
		}
	}
	s.secrets = strings.NewReplacer(pairs...)
	return s
}

// Stands says which word stands for each user.
func (s *Scrubber) Stands() map[string]string { return s.stands }

func (s *Scrubber) add(name, stands string) {
	if len(name) < shortestName {
		return
	}
	at := s.names
	for i := range len(name) {
		if at.next == nil {
			at.next = map[byte]*node{}
		}
		b := lower(name[i])
		if at.next[b] == nil {
			at.next[b] = &node{}
		}
		at = at.next[b]
	}
	if at.stands == "" {
		at.stands = stands
	}
}

// forms are how a value may appear: whole, and its lines, as a log has them.
func forms(secret string) (all []string) {
	for _, form := range append([]string{secret}, strings.Split(secret, "\n")...) {
		form = strings.TrimSpace(form)
		if len(form) >= shortestSecret && !strings.HasPrefix(form, "-----") && !slices.Contains(all, form) {
			all = append(all, form)
		}
	}
	return all
}

// patterns are what looks like a secret, wherever it came from. The first group stays.
var patterns = []*regexp.Regexp{
	regexp.MustCompile(`()-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----`),
	regexp.MustCompile(`(?i)(\bauthorization["']?[:=]\s*["']?(?:[a-z]+\s+)?)[^\s"',]+`),
	regexp.MustCompile(`(?i)(\b(?:[a-z_]*token|password|passwd|secret|api[_-]?key)["']?\s*[:=]\s*["']?)[^\s"'&,;{}\[\]()]+`),
	regexp.MustCompile(`()\beyJ[\w-]+\.[\w-]+\.[\w-]+`),
	regexp.MustCompile(`(://)[^/\s:@]+:[^/\s@]+@`),
	regexp.MustCompile(`()\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b`),
}

// Text is a text without values of Secrets, what looks like one, mail addresses and names of users.
func (s *Scrubber) Text(text string) string {
	text = s.secrets.Replace(text)
	text = s.withoutNames(text)
	for _, pattern := range patterns {
		text = pattern.ReplaceAllString(text, "${1}"+hidden)
	}
	return text
}

// withoutNames replaces the longest name that begins at each begin of a word and ends with one.
func (s *Scrubber) withoutNames(text string) string {
	var out strings.Builder
	from := 0
	for i := 0; i < len(text); {
		if i > 0 && inWord(text[i-1]) {
			i++
			continue
		}
		stands, end := s.nameAt(text, i)
		if end == 0 {
			i++
			continue
		}
		out.WriteString(text[from:i])
		out.WriteString(stands)
		i, from = end, end
	}
	out.WriteString(text[from:])
	return out.String()
}

// nameAt returns what stands for the longest name at i, and its end, 0 for none.
func (s *Scrubber) nameAt(text string, i int) (stands string, end int) {
	at := s.names
	for ; i < len(text); i++ {
		if at = at.next[lower(text[i])]; at == nil {
			break
		}
		if at.stands != "" && (i+1 == len(text) || !inWord(text[i+1])) {
			stands, end = at.stands, i+1
		}
	}
	return stands, end
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// inWord reports whether a name that is beside b is part of a longer word.
func inWord(b byte) bool {
	return 'a' <= lower(b) && lower(b) <= 'z' || '0' <= b && b <= '9' || b >= 0x80
}
