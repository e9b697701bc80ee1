package groups

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"sigs.k8s.io/yaml"
)

// maxFileBytes bounds the file of a File source.
const maxFileBytes = 1 << 20

// File is a Source for small sites: a YAML file of the form
//
//	users:
//	  alice: [ml-research, "cn=admins,ou=groups,dc=example,dc=org"]
//	  bob: []
//
// It is read at every lookup, so a changed file counts at once. User names
// are compared exactly.
type File struct {
	path string
	now  func() time.Time
}

// NewFile reads the file once to find faults early.
func NewFile(path string, now func() time.Time) (*File, error) {
	f := &File{path: path, now: now}
	if _, err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// Lookup implements Source. A file that cannot be read is ErrUnavailable.
func (f *File) Lookup(ctx context.Context, user string) (Membership, error) {
	if err := context.Cause(ctx); err != nil {
		return Membership{}, fmt.Errorf("%w: file: %w", ErrUnavailable, err)
	}
	users, err := f.read()
	if err != nil {
		return Membership{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	groups, known := users[user]
	if !known || user == "" {
		return Membership{}, ErrUnknownUser
	}
	return Membership{User: user, Groups: groups, Source: "file", AsOf: f.now()}, nil
}

func (f *File) read() (map[string][]Group, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("groups file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("groups file: %w", err)
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("groups file: longer than %d bytes", maxFileBytes)
	}
	var doc struct {
		Users map[string][]string `json:"users"`
	}
	if err := yaml.UnmarshalStrict(text, &doc); err != nil {
		return nil, fmt.Errorf("groups file: %w", err)
	}
	users := make(map[string][]Group, len(doc.Users))
	for user, names := range doc.Users {
		members := make([]Group, 0, len(names))
		for _, name := range names {
			g := Group{Name: name}
			if looksLikeDN(name) {
				g.DN = name
				if g.Name, err = groupName(name); err != nil {
					return nil, fmt.Errorf("groups file: user %q: group %q: %w", user, name, err)
				}
			}
			members = append(members, g)
		}
		users[user] = members
	}
	return users, nil
}
