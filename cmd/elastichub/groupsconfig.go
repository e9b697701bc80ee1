package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/openid"
	"github.com/elastichub/elastichub/hubapi"
)

// Names of sources, in the order in which they are asked unless groups.sources
// says otherwise.
const (
	sourceLDAP = "ldap"
	sourceOIDC = "oidc"
	sourceHub  = "hub"
	sourceFile = "file"
)

// groupsConfig says who knows which groups a user is in.
type groupsConfig struct {
	// CacheTTL and StaleLimit hold for every source that has none of its own.
	CacheTTL   time.Duration `mapstructure:"cacheTTL"`
	StaleLimit time.Duration
	// Sources is the order of those configured; empty means the order above.
	Sources []string
	// Combine is union or first.
	Combine string
	LDAP    ldapConfig `mapstructure:"ldap"`
	OIDC    oidcConfig `mapstructure:"oidc"`
	Hub     hubConfig
	// File names a YAML file of users and groups.
	File string
}

// limitsConfig are a source's own; 0 means those of groups.
type limitsConfig struct {
	CacheTTL   time.Duration `mapstructure:"cacheTTL"`
	StaleLimit time.Duration
}

// ldapConfig mirrors groups.LDAPConfig.
type ldapConfig struct {
	URLs                  []string `mapstructure:"urls"`
	StartTLS              bool     `mapstructure:"startTLS"`
	AllowPlaintext        bool
	CAFile                string `mapstructure:"caFile"`
	BindDN                string `mapstructure:"bindDN"`
	BindPasswordFile      string
	UserBase              string
	UserAttribute         string
	UserFilter            string
	MemberOfAttribute     string
	GroupBase             string
	GroupFilter           string
	GroupMemberAttributes []string
	NestedGroups          string
	NestingDepth          int
	Referrals             string
	DialTimeout           time.Duration
	BindTimeout           time.Duration
	SearchTimeout         time.Duration
	PoolSize              int
	Limits                limitsConfig
}

// oidcConfig mirrors openid.Config.
type oidcConfig struct {
	Issuer         string
	AllowPlaintext bool
	CAFile         string `mapstructure:"caFile"`
	From           string
	Audience       string
	UsernameClaim  string
	GroupsClaims   []string
	GroupPrefix    string
	Algorithms     []string
	Leeway         time.Duration
	Timeout        time.Duration
	Limits         limitsConfig
}

// hubConfig takes groups from JupyterHub in one of two ways.
type hubConfig struct {
	// Sent: ElasticSpawner sends them along.
	Sent bool
	// APIURL: they are asked for. The other fields are for this way.
	APIURL    string `mapstructure:"apiURL"`
	TokenFile string
	CAFile    string `mapstructure:"caFile"`
	Timeout   time.Duration
	Limits    limitsConfig
}

func defaultGroupsConfig() groupsConfig {
	ldap, oidc := groups.DefaultLDAPConfig(), openid.DefaultConfig()
	return groupsConfig{
		CacheTTL: time.Minute, StaleLimit: 10 * time.Minute,
		Combine: string(groups.CombineUnion),
		LDAP: ldapConfig{
			StartTLS: true, UserAttribute: ldap.UserAttribute,
			MemberOfAttribute: ldap.MemberOfAttribute, GroupMemberAttributes: ldap.GroupMemberAttributes,
			NestedGroups: string(ldap.NestedGroups), NestingDepth: ldap.NestingDepth, Referrals: string(ldap.Referrals),
			DialTimeout: ldap.DialTimeout, BindTimeout: ldap.BindTimeout, SearchTimeout: ldap.SearchTimeout,
			PoolSize: ldap.PoolSize,
		},
		OIDC: oidcConfig{
			From: string(oidc.From), UsernameClaim: oidc.UsernameClaim, GroupsClaims: oidc.GroupsClaims,
			Algorithms: oidc.Algorithms, Leeway: oidc.Leeway, Timeout: oidc.Timeout,
		},
		Hub: hubConfig{Timeout: 3 * time.Second},
	}
}

// configured names the sources that have a configuration.
func (c groupsConfig) configured() []string {
	var names []string
	for _, source := range []struct {
		name string
		is   bool
	}{
		{sourceLDAP, len(c.LDAP.URLs) > 0}, {sourceOIDC, c.OIDC.Issuer != ""},
		{sourceHub, c.Hub.Sent || c.Hub.APIURL != ""}, {sourceFile, c.File != ""},
	} {
		if source.is {
			names = append(names, source.name)
		}
	}
	return names
}

// order is in which the sources are asked.
func (c groupsConfig) order() []string {
	if len(c.Sources) > 0 {
		return c.Sources
	}
	return c.configured()
}

// limits are a source's own, or else the general ones.
func (c groupsConfig) limits(own limitsConfig) limitsConfig {
	if own.CacheTTL == 0 {
		own.CacheTTL = c.CacheTTL
	}
	if own.StaleLimit == 0 {
		own.StaleLimit = c.StaleLimit
	}
	return own
}

// validate returns all faults, each with its dotted path.
func (c groupsConfig) validate() []error {
	var faults []error
	if c.CacheTTL <= 0 {
		faults = append(faults, fmt.Errorf("groups.cacheTTL: %s is not above zero", c.CacheTTL))
	}
	for path, own := range map[string]limitsConfig{"groups": {}, "groups.ldap.limits": c.LDAP.Limits, "groups.oidc.limits": c.OIDC.Limits, "groups.hub.limits": c.Hub.Limits} {
		limits := c.limits(own)
		if own.CacheTTL < 0 || limits.StaleLimit < limits.CacheTTL {
			faults = append(faults, fmt.Errorf("%s.staleLimit: %s is below cacheTTL, %s", path, limits.StaleLimit, limits.CacheTTL))
		}
	}
	if c.Combine != string(groups.CombineUnion) && c.Combine != string(groups.CombineFirst) {
		faults = append(faults, fmt.Errorf("groups.combine: %q is not one of union, first", c.Combine))
	}
	configured := c.configured()
	if len(configured) == 0 {
		faults = append(faults, errors.New("groups: at least one of ldap.urls, oidc.issuer, hub.sent, hub.apiURL and file is required"))
	}
	if len(c.Sources) > 0 && !slices.Equal(sorted(c.Sources), sorted(configured)) {
		faults = append(faults, fmt.Errorf("groups.sources: names %s, but configured are %s", strings.Join(c.Sources, ", "), strings.Join(configured, ", ")))
	}
	check := func(path string, err error) {
		if err == nil {
			return
		}
		for line := range strings.Lines(err.Error()) {
			faults = append(faults, fmt.Errorf("groups.%s.%s", path, strings.TrimSuffix(line, "\n")))
		}
	}
	if len(c.LDAP.URLs) > 0 {
		check(sourceLDAP, c.LDAP.source().Validate())
	}
	if c.OIDC.Issuer != "" {
		check(sourceOIDC, c.OIDC.source().Validate())
	}
	switch {
	case c.Hub.Sent && c.Hub.APIURL != "":
		faults = append(faults, errors.New("groups.hub: sent and apiURL are two ways to the same; use one"))
	case c.Hub.APIURL != "":
		check(sourceHub, c.Hub.source().Validate())
	}
	return faults
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}

func (c ldapConfig) source() groups.LDAPConfig {
	return groups.LDAPConfig{
		URLs: c.URLs, StartTLS: c.StartTLS, AllowPlaintext: c.AllowPlaintext, CAFile: c.CAFile,
		BindDN: c.BindDN, BindPasswordFile: c.BindPasswordFile,
		UserBase: c.UserBase, UserAttribute: c.UserAttribute, UserFilter: c.UserFilter,
		MemberOfAttribute: c.MemberOfAttribute,
		GroupBase:         c.GroupBase, GroupFilter: c.GroupFilter, GroupMemberAttributes: c.GroupMemberAttributes,
		NestedGroups: groups.NestedGroups(c.NestedGroups), NestingDepth: c.NestingDepth, Referrals: groups.Referrals(c.Referrals),
		DialTimeout: c.DialTimeout, BindTimeout: c.BindTimeout, SearchTimeout: c.SearchTimeout,
		PoolSize: c.PoolSize,
	}
}

func (c oidcConfig) source() openid.Config {
	return openid.Config{
		Issuer: c.Issuer, AllowPlaintext: c.AllowPlaintext, CAFile: c.CAFile,
		From: openid.From(c.From), Audience: c.Audience, UsernameClaim: c.UsernameClaim,
		GroupsClaims: c.GroupsClaims, GroupPrefix: c.GroupPrefix, Algorithms: c.Algorithms,
		Leeway: c.Leeway, Timeout: c.Timeout,
	}
}

func (c hubConfig) source() hubapi.HubGroupsConfig {
	return hubapi.HubGroupsConfig{URL: c.APIURL, TokenFile: c.TokenFile, CAFile: c.CAFile, Timeout: c.Timeout}
}
