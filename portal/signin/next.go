package signin

import (
	"net/url"
	"strings"
)

// maxNext bounds where a sign-in leads to, in bytes.
const maxNext = 1024

// safeNext is where a sign-in may lead: a page of ours, and nothing that a browser
// could take for another address. Anything else is the first page.
func safeNext(base, next string) string {
	if len(next) > maxNext || !strings.HasPrefix(next, base) || strings.HasPrefix(next, "//") || strings.Contains(next, `\`) ||
		strings.ContainsFunc(next, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return base
	}
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(u.EscapedPath(), base) || strings.Contains(u.Path, "..") {
		return base
	}
	return next
}
