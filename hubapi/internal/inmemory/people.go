package inmemory

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/file"
	"github.com/elastichub/elastichub/web"
)

// People is the real groups.Service over the users and policies in a
// directory of the contract, with a directory that can be told to fail.
type People struct {
	*groups.Service
	source *switched
}

// NewPeople reads users.yaml and policies.yaml. Nothing is cached.
func NewPeople(contract string, now func() time.Time) (*People, error) {
	directory, err := file.New(file.Config{Path: filepath.Join(contract, "users.yaml")}, now)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(contract, "policies.yaml"))
	if err != nil {
		return nil, err
	}
	var policies policyList
	if err := yaml.UnmarshalStrict(text, &policies); err != nil {
		return nil, fmt.Errorf("policies.yaml: %w", err)
	}
	source := &switched{Source: directory}
	config := groups.DefaultCacheConfig()
	config.TTL = 0
	cache, err := groups.NewCache(source, config, now, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	return &People{Service: groups.NewService(cache, policies, groups.MatchPriority), source: source}, nil
}

// SetDown takes the directory down, or up again.
func (p *People) SetDown(down bool) {
	var err error
	if down {
		err = groups.ErrUnavailable
	}
	p.SetFault(err)
}

// SetFault has the directory answer with an error, or with the truth again if it is nil.
func (p *People) SetFault(err error) { p.source.fault.Store(&err) }

type switched struct {
	groups.Source
	fault atomic.Pointer[error]
}

func (s *switched) Lookup(ctx context.Context, user string) (groups.Membership, error) {
	if err := s.fault.Load(); err != nil && *err != nil {
		return groups.Membership{}, *err
	}
	return s.Source.Lookup(ctx, user)
}

type policyList []v1alpha1.GroupPolicy

func (p policyList) Policies(context.Context) ([]v1alpha1.GroupPolicy, error) { return p, nil }

// Cluster implements hubapi.Cluster: two of every GPU resource, one of them free.
type Cluster struct{}

// Kernels implements hubapi.Cluster.
func (Cluster) Kernels(context.Context, groups.Allowance) ([]web.KernelChoice, error) {
	return []web.KernelChoice{{Name: "python-gpu", DisplayName: "Python (GPU)", GPUs: map[string]int64{"nvidia.com/gpu": 1}, IdleSeconds: 600}}, nil
}

// GPUs implements hubapi.Cluster.
func (Cluster) GPUs(_ context.Context, quotas []groups.GPUQuota) (map[string]web.GPUs, error) {
	now := map[string]web.GPUs{}
	for _, quota := range quotas {
		now[quota.Resource] = web.GPUs{Free: 1, Total: 2}
	}
	return now, nil
}

// Budgets are none.
func (Cluster) Budgets(context.Context, string, string) ([]web.Budget, error) { return nil, nil }

// Held implements hubapi.Cluster: one each.
func (Cluster) Held(_ context.Context, _ string, quotas []groups.GPUQuota) (map[string]web.HeldGPUs, error) {
	held := map[string]web.HeldGPUs{}
	for _, quota := range quotas {
		held[quota.Resource] = web.HeldGPUs{User: 1, Pool: 1}
	}
	return held, nil
}
