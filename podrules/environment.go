package podrules

import "strings"

// Literal writes text for an environment value or an argument, in which
// Kubernetes expands $(NAME) and reads $$ as a dollar sign: the process sees
// the text as it is.
func Literal(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// Text is what a process sees of a value in which there are no references.
func Text(value string) string { return strings.ReplaceAll(value, "$$", "$") }

// WithoutReferences neutralises the references $(NAME) in a value that is in
// Kubernetes' notation already, and nothing else: what Literal has written
// stays, and doing it twice changes nothing.
func WithoutReferences(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '$' || i+1 == len(value) {
			b.WriteByte(value[i])
			continue
		}
		switch value[i+1] {
		case '$': // an escaped dollar
			b.WriteString("$$")
			i++
		case '(':
			b.WriteString("$$")
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}
