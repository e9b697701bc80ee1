package main

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/openid"
	"github.com/elastichub/elastichub/hubapi"
)

// directories are all sources of group membership, made one.
type directories struct {
	groups.Members
	// witnesses are those that answer from what the Hub sends.
	witnesses []groups.Witness
	closers   []func()
}

// Close ends the connections that are not in use.
func (d *directories) Close() {
	for _, end := range d.closers {
		end()
	}
}

// newDirectories puts a cache before every source that has to ask somebody.
// Its metrics are labelled with the source.
func newDirectories(config groupsConfig, registry prometheus.Registerer) (*directories, error) {
	d := &directories{}
	var parts []groups.Part
	for _, name := range config.order() {
		members, err := d.open(name, config, prometheus.WrapRegistererWith(prometheus.Labels{"source": name}, registry))
		if err != nil {
			d.Close()
			return nil, fmt.Errorf("groups.%s: %w", name, err)
		}
		parts = append(parts, groups.Part{Name: name, Members: members})
	}
	var err error
	if d.Members, err = groups.NewCombination(groups.Combine(config.Combine), parts...); err != nil {
		d.Close()
		return nil, fmt.Errorf("groups: %w", err)
	}
	return d, nil
}

func (d *directories) open(name string, config groupsConfig, registry prometheus.Registerer) (groups.Members, error) {
	switch name {
	case sourceLDAP:
		source, err := groups.NewLDAP(config.LDAP.source(), time.Now)
		if err != nil {
			return nil, err
		}
		d.closers = append(d.closers, source.Close)
		return cached(source, config.limits(config.LDAP.Limits), registry)
	case sourceOIDC:
		source, err := openid.New(config.OIDC.source(), time.Now)
		if err != nil {
			return nil, err
		}
		d.closers = append(d.closers, source.Close)
		d.witnesses = append(d.witnesses, source)
		return cached(source, config.limits(config.OIDC.Limits), registry)
	case sourceHub:
		if config.Hub.Sent {
			source := groups.NewSentByHub(config.limits(config.Hub.Limits).StaleLimit, time.Now)
			d.witnesses = append(d.witnesses, source)
			return source, nil
		}
		source, err := hubapi.NewHubGroups(config.Hub.source(), time.Now)
		if err != nil {
			return nil, err
		}
		d.closers = append(d.closers, source.Close)
		return cached(source, config.limits(config.Hub.Limits), registry)
	case sourceFile:
		source, err := groups.NewFile(config.File, time.Now)
		if err != nil {
			return nil, err
		}
		return cached(source, config.limits(limitsConfig{}), registry)
	default:
		return nil, fmt.Errorf("no source is called %q", name)
	}
}

func cached(source groups.Source, limits limitsConfig, registry prometheus.Registerer) (groups.Members, error) {
	config := groups.DefaultCacheConfig()
	config.TTL, config.StaleLimit = limits.CacheTTL, limits.StaleLimit
	return groups.NewCache(source, config, time.Now, registry)
}
