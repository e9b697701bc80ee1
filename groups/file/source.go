// Package file is a groups.Source for small sites: a file of users and their
// groups.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/naming"
)

// maxFileBytes bounds the file.
const maxFileBytes = 1 << 20

// Config says where the file is.
type Config struct {
	Path string
}

// Configured reports whether the site has this source.
func (c Config) Configured() bool { return c.Path != "" }

// Validate returns all faults.
func (c Config) Validate() error {
	if c.Path == "" {
		return errors.New("path: required")
	}
	return nil
}

// Source is a groups.Source that reads a YAML file of the form
//
//	users:
//	  alice: [ml-research, "cn=admins,ou=groups,dc=example,dc=org"]
//	  bob: []
//
// It is read at every lookup, so a changed file counts at once. User names
// are compared exactly.
type Source struct {
	config Config
	now    func() time.Time
}

// New reads the file once to find faults early.
func New(config Config, now func() time.Time) (*Source, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("groups file: %w", err)
	}
	s := &Source{config: config, now: now}
	if _, err := s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

// Lookup implements groups.Source. A file that cannot be read is
// groups.ErrUnavailable.
func (s *Source) Lookup(ctx context.Context, user string) (groups.Membership, error) {
	if err := context.Cause(ctx); err != nil {
		return groups.Membership{}, fmt.Errorf("%w: file: %w", groups.ErrUnavailable, err)
	}
	users, err := s.read()
	if err != nil {
		return groups.Membership{}, fmt.Errorf("%w: %w", groups.ErrUnavailable, err)
	}
	found, known := users[user]
	if !known || user == "" {
		return groups.Membership{}, groups.ErrUnknownUser
	}
	return groups.Membership{User: user, Groups: found, Source: "file", AsOf: s.now()}, nil
}

func (s *Source) read() (map[string][]groups.Group, error) {
	file, err := os.Open(s.config.Path)
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
	users := make(map[string][]groups.Group, len(doc.Users))
	for user, names := range doc.Users {
		members := make([]groups.Group, 0, len(names))
		for _, name := range names {
			g := groups.Group{Name: name}
			if naming.LooksLikeDN(name) {
				g.DN = name
				if g.Name, err = naming.GroupName(name); err != nil {
					return nil, fmt.Errorf("groups file: user %q: group %q: %w", user, name, err)
				}
			}
			members = append(members, g)
		}
		users[user] = members
	}
	return users, nil
}
