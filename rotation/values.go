package rotation

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Keys of a Secret beside that of the value, and names of their files.
const (
	KeyNext        = "next"
	KeyFormer      = "former"
	KeyFormerUntil = "former-until"
	KeyMark        = "mark"
)

// ErrEmpty means that there is no value.
var ErrEmpty = errors.New("rotation: there is no value")

// Values of a secret at one moment, without the white space around them.
type Values struct {
	Current, Next, Former string
	// FormerUntil is when the former value counts no longer; zero: it counts as long as it is there.
	FormerUntil time.Time
	// Mark is that of the last step of a rotation; empty before the first.
	Mark string
}

// Counting are the values that count at a time, each once and the current one first.
func (v Values) Counting(now time.Time) []string {
	counting := []string{v.Current}
	if v.Next != "" && v.Next != v.Current {
		counting = append(counting, v.Next)
	}
	if v.FormerCounts(now) && v.Former != v.Current && v.Former != v.Next {
		counting = append(counting, v.Former)
	}
	return counting
}

// FormerCounts reports whether there is a former value whose time is not over.
func (v Values) FormerCounts(now time.Time) bool {
	return v.Former != "" && (v.FormerUntil.IsZero() || now.Before(v.FormerUntil))
}

// Parse takes the data of a Secret whose value is called name.
func Parse(name string, get func(key string) string) (Values, error) {
	text := func(key string) string { return strings.TrimSpace(get(key)) }
	v := Values{Current: text(name), Next: text(KeyNext), Former: text(KeyFormer), Mark: text(KeyMark)}
	if v.Current == "" {
		return Values{}, fmt.Errorf("%w: %s is empty", ErrEmpty, name)
	}
	if until := text(KeyFormerUntil); until != "" {
		at, err := time.Parse(time.RFC3339, until)
		if err != nil {
			return Values{}, fmt.Errorf("rotation: %s: %.40q is not a time such as 2026-11-28T00:00:00Z", KeyFormerUntil, until)
		}
		v.FormerUntil = at.UTC()
	}
	return v, nil
}

// Read reads a value from its file, and those beside it, all of one moment.
func Read(file string) (Values, error) {
	files, err := ReadTogether(file, KeyNext, KeyFormer, KeyFormerUntil, KeyMark)
	if err != nil {
		return Values{}, err
	}
	return files.Values()
}
