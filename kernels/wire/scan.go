package wire

import (
	"bytes"
	"encoding/json"
)

// scanner walks the members of one JSON object without decoding them. It
// checks that brackets and quotes balance, no more: not UTF-8, not numbers,
// not the grammar inside a value. It does not recurse, so depth costs nothing.
type scanner struct {
	data []byte
	pos  int
}

// open enters the object.
func (s *scanner) open() error {
	s.space()
	if s.pos >= len(s.data) || s.data[s.pos] != '{' {
		return ErrJSON
	}
	s.pos++
	return nil
}

// next returns the next member, key unquoted and value raw; ok is false behind the last one.
func (s *scanner) next() (key, value []byte, ok bool, err error) {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == ',' {
		s.pos++
		s.space()
	}
	if s.pos >= len(s.data) {
		return nil, nil, false, ErrJSON
	}
	switch s.data[s.pos] {
	case '}':
		s.pos++
		return nil, nil, false, nil
	case '"':
	default:
		return nil, nil, false, ErrJSON
	}
	start := s.pos
	if err := s.skipString(); err != nil {
		return nil, nil, false, err
	}
	key = text(s.data[start:s.pos])
	s.space()
	if s.pos >= len(s.data) || s.data[s.pos] != ':' {
		return nil, nil, false, ErrJSON
	}
	s.pos++
	s.space()
	start = s.pos
	if err := s.skipValue(); err != nil {
		return nil, nil, false, err
	}
	return key, s.data[start:s.pos], true, nil
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// skipString moves behind the string that begins here, in linear time however
// many escapes it has.
func (s *scanner) skipString() error {
	s.pos++
	for {
		quote := bytes.IndexByte(s.data[s.pos:], '"')
		if quote < 0 {
			return ErrJSON
		}
		quote += s.pos
		for s.pos <= quote {
			escape := bytes.IndexByte(s.data[s.pos:quote], '\\')
			if escape < 0 {
				s.pos = quote + 1
				return nil
			}
			s.pos += escape + 2
		}
	}
}

// skipValue moves behind the value that begins here.
func (s *scanner) skipValue() error {
	depth := 0
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case '"':
			if err := s.skipString(); err != nil {
				return err
			}
			if depth == 0 {
				return nil
			}
		case '{', '[':
			depth++
			s.pos++
		case '}', ']':
			if depth == 0 {
				return ErrJSON
			}
			depth--
			s.pos++
			if depth == 0 {
				return nil
			}
		case ',', ' ', '\t', '\n', '\r', ':':
			if depth == 0 {
				return ErrJSON
			}
			s.pos++
		default:
			if depth > 0 {
				s.pos++
				continue
			}
			return s.skipLiteral()
		}
	}
	return ErrJSON
}

// skipLiteral moves behind a number or a word such as null or NaN.
func (s *scanner) skipLiteral() error {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return nil
		case '"', '{', '[', ':':
			return ErrJSON
		}
		s.pos++
	}
	return nil
}

// isObject reports whether part is exactly one balanced JSON object, so that it
// can stand as a member of another without breaking out of it.
func isObject(part []byte) bool {
	s := scanner{data: part}
	s.space()
	if s.pos >= len(part) || part[s.pos] != '{' || s.skipValue() != nil {
		return false
	}
	s.space()
	return s.pos == len(part)
}

// text unquotes a JSON string; anything else gives nil. Without escapes the
// result points into raw.
func text(raw []byte) []byte {
	if len(raw) < 2 || raw[0] != '"' {
		return nil
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	return []byte(s)
}
