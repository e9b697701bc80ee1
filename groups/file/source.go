// Package file is a groups.Source for small sites: a file of users and their
// groups.
package file

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/naming"
	"github.com/elastichub/elastichub/smallfile"
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
// are compared exactly. Every name is the text that the file has, with or
// without quotes: 03423453 and no are names.
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

// Lists implements groups.Lister.
func (s *Source) Lists() bool { return true }

// ListGroups implements groups.Lister: the groups that somebody is in.
func (s *Source) ListGroups(ctx context.Context, part string, limit int) (found []groups.ListedGroup, more bool, err error) {
	if err := context.Cause(ctx); err != nil {
		return nil, false, fmt.Errorf("%w: file: %w", groups.ErrUnavailable, err)
	}
	users, err := s.read()
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", groups.ErrUnavailable, err)
	}
	members := map[groups.Group]int{}
	for _, all := range users {
		slices.SortFunc(all, func(a, b groups.Group) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.DN, b.DN)) })
		for _, g := range slices.Compact(all) {
			members[g]++
		}
	}
	for g, n := range members {
		if strings.Contains(naming.Fold(g.Name), naming.Fold(part)) {
			found = append(found, groups.ListedGroup{Group: g, Members: n})
		}
	}
	found, more = groups.FirstGroups(found, limit)
	return found, more, nil
}

func (s *Source) read() (map[string][]groups.Group, error) {
	text, err := smallfile.Read(s.config.Path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("groups file: %w", err)
	}
	var doc struct {
		Users namesOf `yaml:"users"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
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

// namesOf are the names that a file has for each user.
type namesOf map[string][]string

// UnmarshalYAML implements yaml.Unmarshaler. It takes the text of each name,
// whatever number, date or truth that would be in YAML.
func (n *namesOf) UnmarshalYAML(node *yaml.Node) error {
	if node = resolved(node); node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: users must be a map", node.Line)
	}
	*n = namesOf{}
	for pair := range slices.Chunk(node.Content, 2) {
		user, err := name(pair[0])
		if err != nil {
			return err
		}
		if _, twice := (*n)[user]; twice {
			return fmt.Errorf("line %d: user %q is there twice", pair[0].Line, user)
		}
		if (*n)[user], err = names(pair[1]); err != nil {
			return err
		}
	}
	return nil
}

func names(node *yaml.Node) ([]string, error) {
	node = resolved(node)
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" {
		return nil, nil
	}
	if node.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("line %d: the groups of a user must be a list", node.Line)
	}
	var all []string
	for _, element := range node.Content {
		one, err := name(element)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func name(node *yaml.Node) (string, error) {
	node = resolved(node)
	if node.Kind != yaml.ScalarNode || node.Value == "" || node.ShortTag() == "!!null" {
		return "", fmt.Errorf("line %d: a name must be text that is not empty", node.Line)
	}
	return node.Value, nil
}

// resolved is what an alias stands for.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}
