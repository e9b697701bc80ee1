package devices

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	resourcev1 "k8s.io/api/resource/v1"
)

// UnreadableError is a selector that is not read here.
type UnreadableError struct{ Expression string }

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("its selector %q is more than comparisons of device.driver and device.attributes with literals (== and !=), joined by && and ||", e.Expression)
}

// selector says whether a device is meant.
type selector func(d *device) answer

// answer is that of an expression for one device.
type answer int

const (
	no answer = iota
	yes
	// fault: the expression cannot be evaluated, as where an attribute is missing. The
	// scheduler allocates nothing then.
	fault
)

// device is one of a ResourceSlice.
type device struct {
	*resourcev1.Device
	driver string
}

// attribute finds one by its domain, which is the driver's where its name has none.
func (d *device) attribute(domain, name string) (resourcev1.DeviceAttribute, bool) {
	if found, ok := d.Attributes[resourcev1.QualifiedName(domain+"/"+name)]; ok {
		return found, true
	}
	if domain != d.driver {
		return resourcev1.DeviceAttribute{}, false
	}
	found, ok := d.Attributes[resourcev1.QualifiedName(name)]
	return found, ok
}

// selectorOf reads all selectors of a class: a device has to satisfy each. Error:
// *UnreadableError.
func selectorOf(class *resourcev1.DeviceClass) (selector, error) {
	var all []selector
	for _, s := range class.Spec.Selectors {
		if s.CEL == nil {
			return nil, &UnreadableError{}
		}
		one, err := parse(s.CEL.Expression)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return func(d *device) answer {
		for _, one := range all {
			if a := one(d); a != yes {
				return a
			}
		}
		return yes
	}, nil
}

// parse reads an expression by recursive descent. Error: *UnreadableError.
func parse(expression string) (selector, error) {
	tokens, ok := scan(expression)
	p := &parser{tokens: tokens}
	if !ok {
		return nil, &UnreadableError{expression}
	}
	s := p.either()
	if p.failed || len(p.tokens) > 0 {
		return nil, &UnreadableError{expression}
	}
	return s, nil
}

// token is a word, a literal or a sign.
type token struct {
	text string
	// value is that of a literal: string, int64 or bool; nil for others.
	value any
}

// scan cuts an expression into tokens. ok is false where it has others than are read here.
func scan(expression string) (tokens []token, ok bool) {
	for rest := strings.TrimLeftFunc(expression, unicode.IsSpace); rest != ""; rest = strings.TrimLeftFunc(rest, unicode.IsSpace) {
		t, n := next(rest)
		if n == 0 {
			return nil, false
		}
		tokens, rest = append(tokens, t), rest[n:]
	}
	return tokens, true
}

// next is the first token and its length; 0 if there is none.
func next(text string) (token, int) {
	for _, sign := range []string{"&&", "||", "==", "!=", "(", ")", "[", "]", "."} {
		if strings.HasPrefix(text, sign) {
			return token{text: sign}, len(sign)
		}
	}
	if quote := text[0]; quote == '"' || quote == '\'' {
		return quoted(text, quote)
	}
	n := strings.IndexFunc(text, func(r rune) bool {
		return r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if n < 0 {
		n = len(text)
	}
	word := text[:n]
	if number, err := strconv.ParseInt(word, 10, 64); err == nil {
		return token{text: word, value: number}, n
	}
	switch {
	case word == "true" || word == "false":
		return token{text: word, value: word == "true"}, n
	case word == "" || strings.Contains(word, "-") || unicode.IsDigit(rune(word[0])):
		return token{}, 0
	}
	return token{text: word}, n
}

// quoted is a string without escapes, in one pair of quotes.
func quoted(text string, quote byte) (token, int) {
	end := strings.IndexByte(text[1:], quote)
	if end < 0 {
		return token{}, 0
	}
	inner := text[1 : 1+end]
	after := text[end+2:]
	if strings.ContainsAny(inner, "\\\n") || strings.HasPrefix(after, string(quote)) {
		return token{}, 0
	}
	return token{text: text[:end+2], value: inner}, end + 2
}

type parser struct {
	tokens []token
	failed bool
}

// take drops the next token if it is that sign or word.
func (p *parser) take(text string) bool {
	if len(p.tokens) == 0 || p.tokens[0].value != nil || p.tokens[0].text != text {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *parser) need(text string) { p.failed = !p.take(text) || p.failed }

// word is the next token, which has to be a name.
func (p *parser) word() string {
	if len(p.tokens) == 0 || p.tokens[0].value != nil {
		p.failed = true
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t.text
}

// literal is the value of the next token, which has to have one.
func (p *parser) literal() any {
	if len(p.tokens) == 0 || p.tokens[0].value == nil {
		p.failed = true
		return nil
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t.value
}

// text is the next token, which has to be a string.
func (p *parser) text() string {
	s, ok := p.literal().(string)
	p.failed = p.failed || !ok
	return s
}

func (p *parser) either() selector {
	s := p.both()
	for !p.failed && p.take("||") {
		s = decidedBy(yes, s, p.both())
	}
	return s
}

func (p *parser) both() selector {
	s := p.one()
	for !p.failed && p.take("&&") {
		s = decidedBy(no, s, p.one())
	}
	return s
}

// decidedBy joins two expressions as CEL does: one of them may decide alone, whatever is
// wrong with the other.
func decidedBy(decides answer, left, right selector) selector {
	return func(d *device) answer {
		a, b := left(d), right(d)
		switch {
		case a == decides || b == decides:
			return decides
		case a == fault || b == fault:
			return fault
		}
		return a
	}
}

// one is a comparison, an attribute that is true or false, or an expression in parentheses.
func (p *parser) one() selector {
	if p.take("(") {
		s := p.either()
		p.need(")")
		return s
	}
	read := p.operand()
	equal, unequal := p.take("=="), false
	if !equal {
		unequal = p.take("!=")
	}
	var want any = true
	if equal || unequal {
		want = p.literal()
	}
	return func(d *device) answer { return compare(read(d), want, unequal) }
}

// compare says no answer where two values are not of one type, as CEL does.
func compare(have, want any, unequal bool) answer {
	switch {
	case fmt.Sprintf("%T", have) != fmt.Sprintf("%T", want):
		return fault
	case (have == want) != unequal:
		return yes
	}
	return no
}

// operand is device.driver or an attribute.
func (p *parser) operand() func(*device) any {
	p.need("device")
	p.need(".")
	switch p.word() {
	case "driver":
		return func(d *device) any { return d.driver }
	case "attributes":
		p.need("[")
		domain := p.text()
		p.need("]")
		name := ""
		if p.take("[") {
			name = p.text()
			p.need("]")
		} else {
			p.need(".")
			name = p.word()
		}
		return func(d *device) any {
			attribute, _ := d.attribute(domain, name)
			return valueOf(attribute)
		}
	}
	p.failed = true
	return nil
}

// valueOf is nil for what is missing, and for kinds that are not compared here.
func valueOf(a resourcev1.DeviceAttribute) any {
	switch {
	case a.StringValue != nil:
		return *a.StringValue
	case a.IntValue != nil:
		return *a.IntValue
	case a.BoolValue != nil:
		return *a.BoolValue
	}
	return nil
}
