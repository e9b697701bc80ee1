package main

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/groups"
)

// directories are all sources of group membership, made one.
type directories struct {
	groups.Members
	// signInReceivers are those that answer from what the Hub sends.
	signInReceivers []groups.SignInReceiver
	// listers are those that know which groups there are.
	listers groups.Directory
	closers []func()
}

// Close ends the connections that are not in use.
func (d *directories) Close() {
	for _, end := range d.closers {
		end()
	}
}

// newDirectories opens every source that is configured.
func newDirectories(config groupsConfig, registry prometheus.Registerer) (*directories, error) {
	d := &directories{}
	var parts []groups.Part
	for _, source := range config.order() {
		members, err := d.open(source, prometheus.WrapRegistererWith(prometheus.Labels{"source": source.name}, registry))
		if err != nil {
			d.Close()
			return nil, fmt.Errorf("groups.%s: %w", source.name, err)
		}
		parts = append(parts, groups.Part{Name: source.name, Members: members})
	}
	var err error
	if d.Members, err = groups.NewCombination(config.Combine, parts...); err != nil {
		d.Close()
		return nil, fmt.Errorf("groups: %w", err)
	}
	return d, nil
}

// open puts a cache before a source that has to ask somebody. Its metrics are
// labelled with the source.
func (d *directories) open(source source, registry prometheus.Registerer) (groups.Members, error) {
	opened, err := source.open()
	if err != nil {
		return nil, err
	}
	if closer, ok := opened.(interface{ Close() }); ok {
		d.closers = append(d.closers, closer.Close)
	}
	if receiver, ok := opened.(groups.SignInReceiver); ok {
		d.signInReceivers = append(d.signInReceivers, receiver)
	}
	if lister, ok := opened.(groups.Lister); ok {
		d.listers = append(d.listers, groups.NamedLister{Name: source.name, Lister: lister})
	}
	if members, ok := opened.(groups.Members); ok {
		return members, nil
	}
	config := groups.DefaultCacheConfig()
	config.TTL, config.StaleLimit = source.limits.CacheTTL, source.limits.StaleLimit
	return groups.NewCache(opened, config, time.Now, registry)
}
