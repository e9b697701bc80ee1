package main

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/groups"
)

// newMembers returns the cached source of group membership, and how to close it.
func newMembers(config groupsConfig, registry prometheus.Registerer) (*groups.Cache, func(), error) {
	source, closeSource, err := newSource(config)
	if err != nil {
		return nil, nil, err
	}
	cacheConfig := groups.DefaultCacheConfig()
	cacheConfig.TTL, cacheConfig.StaleLimit = config.CacheTTL, config.StaleLimit
	members, err := groups.NewCache(source, cacheConfig, time.Now, registry)
	if err != nil {
		closeSource()
		return nil, nil, err
	}
	return members, closeSource, nil
}

func newSource(config groupsConfig) (groups.Source, func(), error) {
	if config.File != "" {
		file, err := groups.NewFile(config.File, time.Now)
		if err != nil {
			return nil, nil, fmt.Errorf("file: %w", err)
		}
		return file, func() {}, nil
	}
	directory, err := groups.NewLDAP(config.LDAP.source(), time.Now)
	if err != nil {
		return nil, nil, fmt.Errorf("ldap: %w", err)
	}
	return directory, directory.Close, nil
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
