package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/file"
	"github.com/elastichub/elastichub/groups/hub"
	"github.com/elastichub/elastichub/groups/ldap"
	"github.com/elastichub/elastichub/groups/openid"
)

// groupsConfig says who knows which groups a user is in.
type groupsConfig struct {
	// Limits hold for every source that has none of its own.
	Limits cacheLimits `mapstructure:",squash"`
	// Sources is the order of those configured; empty means that of sources.
	Sources []string
	Combine groups.Combine
	LDAP    sourceConfig[ldap.Config]
	OIDC    sourceConfig[openid.Config]
	Hub     sourceConfig[hub.Config]
	// File names a YAML file of users and groups.
	File string
}

// sourceConfig is the configuration of a source as its package declares it, the
// names of whose fields are the keys, and the limits of the cache before it.
type sourceConfig[C any] struct {
	Config C `mapstructure:",squash"`
	Limits cacheLimits
}

// cacheLimits bound the age of answers; 0 in a source's own means the general one.
type cacheLimits struct {
	CacheTTL   time.Duration `mapstructure:"cacheTTL"`
	StaleLimit time.Duration
}

func defaultGroupsConfig() groupsConfig {
	return groupsConfig{
		Limits:  cacheLimits{CacheTTL: groups.DefaultCacheConfig().TTL, StaleLimit: 10 * time.Minute},
		Combine: groups.CombineUnion,
		LDAP:    sourceConfig[ldap.Config]{Config: ldap.DefaultConfig()},
		OIDC:    sourceConfig[openid.Config]{Config: openid.DefaultConfig()},
		Hub:     sourceConfig[hub.Config]{Config: hub.DefaultConfig()},
	}
}

// source is one way to know the groups of a user, and what is configured of it.
type source struct {
	// name is the key below groups, and what groups.sources calls it.
	name string
	packageConfig
	// limits are its own with the general ones filled in.
	own, limits cacheLimits
	open        func() (groups.Source, error)
}

// packageConfig is what the Config of every source's package can do.
type packageConfig interface {
	// Configured reports whether the site has the source.
	Configured() bool
	// Validate returns all faults, each with its path below the source's key.
	Validate() error
}

// sources are all that there are, in the order in which they are asked unless
// groups.sources says otherwise. A new one is a package below groups, a field
// of groupsConfig with its default, and a row here; its keys in the chart
// (values, schema, templates/_names.tpl), and a row of test/architecture.
func (c groupsConfig) sources() []source {
	return []source{
		newSource(c, "ldap", c.LDAP, ldap.New),
		newSource(c, "oidc", c.OIDC, openid.New),
		newSource(c, "hub", c.Hub, func(config hub.Config, now func() time.Time) (groups.Source, error) {
			return hub.New(config, c.Limits.or(c.Hub.Limits).StaleLimit, now)
		}),
		newSource(c, "file", sourceConfig[file.Config]{Config: file.Config{Path: c.File}}, file.New),
	}
}

func newSource[C packageConfig, S groups.Source](all groupsConfig, name string, one sourceConfig[C], open func(C, func() time.Time) (S, error)) source {
	return source{
		name: name, packageConfig: one.Config, own: one.Limits, limits: all.Limits.or(one.Limits),
		open: func() (groups.Source, error) { return open(one.Config, time.Now) },
	}
}

// configured are the sources that have a configuration.
func (c groupsConfig) configured() []source {
	return slices.DeleteFunc(c.sources(), func(s source) bool { return !s.Configured() })
}

// order is in which the configured sources are asked.
func (c groupsConfig) order() []source {
	configured := c.configured()
	if len(c.Sources) > 0 {
		slices.SortStableFunc(configured, func(a, b source) int {
			return slices.Index(c.Sources, a.name) - slices.Index(c.Sources, b.name)
		})
	}
	return configured
}

// or fills in the general limits where a source has none of its own.
func (l cacheLimits) or(own cacheLimits) cacheLimits {
	if own.CacheTTL == 0 {
		own.CacheTTL = l.CacheTTL
	}
	if own.StaleLimit == 0 {
		own.StaleLimit = l.StaleLimit
	}
	return own
}

// validate returns all faults, each with its dotted path.
func (c groupsConfig) validate() []error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Limits.CacheTTL <= 0 {
		fault("groups.cacheTTL: %s is not above zero", c.Limits.CacheTTL)
	}
	if c.Limits.StaleLimit < c.Limits.CacheTTL {
		fault("groups.staleLimit: %s is below cacheTTL, %s", c.Limits.StaleLimit, c.Limits.CacheTTL)
	}
	if err := c.Combine.Validate(); err != nil {
		fault("groups.combine: %w", err)
	}
	for _, s := range c.sources() {
		if s.own != (cacheLimits{}) && (s.own.CacheTTL < 0 || s.limits.StaleLimit < s.limits.CacheTTL) {
			fault("groups.%s.limits.staleLimit: %s is below cacheTTL, %s", s.name, s.limits.StaleLimit, s.limits.CacheTTL)
		}
	}
	configured := c.configured()
	if len(c.Sources) > 0 && !slices.Equal(slices.Sorted(slices.Values(c.Sources)), slices.Sorted(slices.Values(names(configured)))) {
		fault("groups.sources: names %s, but configured are %s", strings.Join(c.Sources, ", "), strings.Join(names(configured), ", "))
	}
	for _, s := range configured {
		if err := s.Validate(); err != nil {
			for line := range strings.Lines(err.Error()) {
				fault("groups.%s.%s", s.name, strings.TrimSuffix(line, "\n"))
			}
		}
	}
	return faults
}

func names(sources []source) []string {
	all := make([]string, 0, len(sources))
	for _, s := range sources {
		all = append(all, s.name)
	}
	return all
}
