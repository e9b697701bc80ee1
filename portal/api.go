package portal

import (
	_ "embed"
	"encoding/json"
	"net/http"

	"github.com/elastichub/elastichub/portal/holdings"
)

// OpenAPI is the contract of the JSON API, written by hand: OpenAPI 3.1 as YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte

func document(r *request) error {
	r.w.Header().Set("Content-Type", "application/yaml")
	_, err := r.w.Write(OpenAPI)
	return err
}

// json answers with a value.
func (r *request) json(value any) error { return r.jsonAs(http.StatusOK, value) }

func (r *request) jsonAs(status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "application/json")
	r.w.WriteHeader(status)
	_, err = r.w.Write(body)
	return err
}

// self is who asks.
type self struct {
	User  string `json:"user"`
	Admin bool   `json:"admin"`
	// AdminUnknown: the directory does not say whether the user is an administrator.
	AdminUnknown bool `json:"admin_unknown,omitempty"`
	// CSRF is what a session's requests that ask for something have to show.
	CSRF string `json:"csrf,omitempty"`
	// Kubernetes is the name of an account of Kubernetes, whose User is empty.
	Kubernetes string `json:"kubernetes,omitempty"`
}

func (p *Portal) me(r *request) error {
	who := self{User: r.person.User, Admin: r.isAdmin, AdminUnknown: r.adminErr != nil, CSRF: r.person.CSRF}
	if r.person.Account != nil {
		who.Kubernetes = r.person.Account.Name
	}
	return r.json(who)
}

// items is a list that fits one answer.
type items[Row any] struct {
	Items []Row `json:"items"`
}

// own are the rows that are the person's; of nobody, none.
func own[Row any](all []Row, owner func(Row) string, user string) []Row {
	mine := []Row{}
	for _, row := range all {
		if user != "" && owner(row) == user {
			mine = append(mine, row)
		}
	}
	return mine
}

func (p *Portal) ownServers(r *request) error {
	h, err := p.lists.get(r.Context())
	if err != nil {
		return err
	}
	return r.json(items[holdings.Server]{own(h.Servers, ownerOfServer, r.person.User)})
}

func (p *Portal) ownKernels(r *request) error {
	h, err := p.lists.get(r.Context())
	if err != nil {
		return err
	}
	return r.json(items[holdings.Kernel]{p.withReturns(r, own(h.Kernels, ownerOfKernel, r.person.User))})
}

func (p *Portal) server(r *request) error {
	_, s, _, err := p.serverOf(r)
	if err != nil {
		return err
	}
	return r.json(s)
}

func (p *Portal) kernel(r *request) error {
	_, k, mine, err := p.kernelOf(r)
	if err != nil {
		return err
	}
	if mine {
		k = p.withReturns(r, []holdings.Kernel{k})[0]
	}
	return r.json(k)
}

// withReturns says of a person's own kernels, which it changes, what they may return as.
func (p *Portal) withReturns(r *request, kernels []holdings.Kernel) []holdings.Kernel {
	for i, k := range kernels {
		if !k.Phase.IsOver() {
			continue
		}
		choices, err := p.deps.Returns(r.Context(), k.ID)
		if err != nil {
			p.deps.Log.WarnContext(r.Context(), "kernel without what it may return as", "request", r.id, "kernel", k.ID, "error", err)
		}
		kernels[i].Returns = choices
	}
	return kernels
}

// capacity is the cluster's, empty where nobody counts it, or cannot at the moment.
func (p *Portal) capacity(r *request) holdings.Capacity {
	if p.deps.Capacity == nil {
		return holdings.Capacity{}
	}
	cluster, err := p.deps.Capacity(r.Context())
	if err != nil {
		p.deps.Log.WarnContext(r.Context(), "overview without capacity", "request", r.id, "error", err)
		return holdings.Capacity{}
	}
	return cluster
}

func (p *Portal) overview(r *request) error {
	h, err := p.lists.get(r.Context())
	if err != nil {
		return err
	}
	o := h.Overview(p.capacity(r))
	if o.Devices == nil {
		o.Devices = []holdings.Device{}
	}
	return r.json(o)
}

func (p *Portal) queue(r *request) error {
	h, err := p.lists.get(r.Context())
	if err != nil {
		return err
	}
	queue := h.Queue()
	if queue == nil {
		queue = []holdings.Kernel{}
	}
	return r.json(items[holdings.Kernel]{queue})
}

func (p *Portal) pageOfKernels(r *request) (q holdings.Query, page holdings.Page[holdings.Kernel], err error) {
	if q, err = r.listQuery(); err != nil {
		return q, page, err
	}
	h, err := p.lists.get(r.Context())
	if err != nil {
		return q, page, err
	}
	page, err = holdings.FindKernels(h.Kernels, q)
	return q, page, err
}

func (p *Portal) pageOfServers(r *request) (q holdings.Query, page holdings.Page[holdings.Server], err error) {
	if q, err = r.listQuery(); err != nil {
		return q, page, err
	}
	h, err := p.lists.get(r.Context())
	if err != nil {
		return q, page, err
	}
	page, err = holdings.FindServers(h.Servers, q)
	return q, page, err
}

func (p *Portal) kernels(r *request) error {
	_, page, err := p.pageOfKernels(r)
	if err != nil {
		return err
	}
	return r.json(page)
}

func (p *Portal) servers(r *request) error {
	_, page, err := p.pageOfServers(r)
	if err != nil {
		return err
	}
	return r.json(page)
}

func (p *Portal) listPolicies(r *request) ([]holdings.Policy, error) {
	all, err := p.groupPolicies(r.Context())
	if err != nil {
		return nil, err
	}
	return holdings.PoliciesOf(all), nil
}

func (p *Portal) policies(r *request) error {
	all, err := p.listPolicies(r)
	if err != nil {
		return err
	}
	return r.json(items[holdings.Policy]{all})
}
