package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/podrules"
)

// catalogue is what one identity may start at this gateway.
type catalogue struct {
	gateway  *v1alpha1.JupyterGateway
	offered  []string // names the gateway offers, in its order
	specs    []*v1alpha1.JupyterKernelSpec
	fallback string // the default; empty if there is nothing

	bounded  bool // by policies
	policies []v1alpha1.GroupPolicy
	notebook *v1alpha1.JupyterNotebook // nil for a client that is none
}

// builtin is the kernelspec of a gateway that names none, unless an object of
// that name exists.
func builtin(namespace string) *v1alpha1.JupyterKernelSpec {
	ks := &v1alpha1.JupyterKernelSpec{}
	ks.Namespace, ks.Name = namespace, v1alpha1.DefaultKernelName
	ks.Spec.Language, ks.Spec.DisplayName = languages.Default, "Python 3"
	return ks
}

// readCatalogue reads the gateway, the kernelspecs it offers and the
// identity's policies. An identity with policies gets what they allow, and an
// error of kind Forbidden if none of them exists; one without gets everything.
func readCatalogue(ctx context.Context, reader client.Reader, cfg Config, id Identity) (*catalogue, error) {
	c := &catalogue{gateway: &v1alpha1.JupyterGateway{}, bounded: len(id.Policies) > 0}
	if err := reader.Get(ctx, types.NamespacedName{Namespace: cfg.Namespace, Name: cfg.Name}, c.gateway); err != nil {
		return nil, failBecause(kindUnavailable, "The gateway's settings cannot be read now.", err)
	}
	if err := c.gateway.Malformed(); err != nil {
		return nil, failBecause(kindUnavailable, "The gateway's settings cannot be read: an administrator has to mend them.", err)
	}
	c.offered = c.gateway.Spec.Kernels
	if len(c.offered) == 0 {
		c.offered = []string{v1alpha1.DefaultKernelName}
	}
	var err error
	if c.policies, err = readPolicies(ctx, reader, cfg.policies(), id.Policies); err != nil {
		return nil, err
	}
	if id.Notebook != "" {
		c.notebook = &v1alpha1.JupyterNotebook{}
		if err := reader.Get(ctx, types.NamespacedName{Namespace: cmp.Or(id.Namespace, cfg.Namespace), Name: id.Notebook}, c.notebook); err != nil {
			return nil, failBecause(kindUnavailable, "The notebook's object cannot be read now.", err)
		}
	}
	var allowed []string
	for i := range c.policies {
		allowed = append(allowed, c.policies[i].Spec.Kernels.Allowed...)
	}
	for _, name := range c.offered {
		if c.bounded && !slices.Contains(allowed, name) {
			continue
		}
		ks := &v1alpha1.JupyterKernelSpec{}
		err := reader.Get(ctx, types.NamespacedName{Namespace: cfg.Namespace, Name: name}, ks)
		switch {
		case apierrors.IsNotFound(err) && name == v1alpha1.DefaultKernelName:
			ks = builtin(cfg.Namespace)
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return nil, failBecause(kindUnavailable, "The kernelspecs cannot be read now.", err)
		case ks.Malformed() != nil:
			continue // its condition says so
		}
		c.specs = append(c.specs, ks)
	}
	c.fallback = chooseDefault(c.gateway.Spec.DefaultKernel, c.specs)
	return c, nil
}

// readPolicies returns those that exist, and an error of kind Forbidden if none does of some.
func readPolicies(ctx context.Context, reader client.Reader, namespace string, policies []string) ([]v1alpha1.GroupPolicy, error) {
	var found []v1alpha1.GroupPolicy
	var missing []string
	for _, name := range policies {
		var policy v1alpha1.GroupPolicy
		err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &policy)
		if apierrors.IsNotFound(err) {
			missing = append(missing, strconv.Quote(name))
			continue
		}
		if err != nil {
			return nil, failBecause(kindUnavailable, "The policies cannot be read now.", err)
		}
		found = append(found, policy)
	}
	switch len(missing) {
	case 0:
	case len(policies):
		return nil, fail(kindForbidden, "No kernel is allowed for you: the GroupPolicy "+strings.Join(missing, ", ")+
			" that your access names does not exist. An administrator has to create it, or name another.")
	}
	return found, nil
}

// checkEnvironment tells whether a kernel of the kernelspec may run in that directory's
// Python; the empty one is none. Errors are of kind Forbidden or Invalid.
func (c *catalogue) checkEnvironment(ks *v1alpha1.JupyterKernelSpec, dir string) error {
	if dir == "" {
		return nil
	}
	if c.bounded && !v1alpha1.OpenEnvironments(c.policies, ks.Name) {
		return fail(kindForbidden, podrules.EnvironmentsClosed(ks.Name))
	}
	if _, ok := languages.With("python", ks.Spec.Language, ks.Spec.Command); !ok {
		return fail(kindForbidden, podrules.EnvironmentsUnknown(ks.Name))
	}
	if fault := podrules.EnvironmentFault(c.notebook, dir); fault != "" {
		return fail(kindInvalid, fault)
	}
	return nil
}

// opensEnvironments reports whether kernels of the kernelspec may run in environments
// of the home.
func (c *catalogue) opensEnvironments(ks *v1alpha1.JupyterKernelSpec) bool {
	return c.notebook != nil && c.notebook.Spec.Storage != nil && c.notebook.Spec.Storage.Home != nil &&
		c.checkEnvironment(ks, c.notebook.Spec.Storage.Home.Path()+"/x") == nil
}

// chooseDefault is the gateway's default if the identity may have it, else the
// first kernelspec it may have.
func chooseDefault(wanted *string, specs []*v1alpha1.JupyterKernelSpec) string {
	for _, ks := range specs {
		if wanted != nil && ks.Name == *wanted {
			return ks.Name
		}
	}
	if len(specs) == 0 {
		return ""
	}
	return specs[0].Name
}

func (c *catalogue) names() []string {
	names := make([]string, len(c.specs))
	for i, ks := range c.specs {
		names[i] = ks.Name
	}
	return names
}

// find returns a kernelspec the identity may start; the empty name is the
// default. Errors are of kind NotFound or Forbidden and name what is allowed.
func (c *catalogue) find(name string) (*v1alpha1.JupyterKernelSpec, error) {
	if name == "" {
		name = c.fallback
	}
	for _, ks := range c.specs {
		if ks.Name == name {
			return ks, nil
		}
	}
	theirs := "you may start none"
	if len(c.specs) > 0 {
		theirs = "you may start " + strings.Join(c.names(), ", ")
	}
	switch {
	case name == "":
		return nil, fail(kindForbidden, "No kernel is allowed for you at this gateway.")
	case len(validation.IsDNS1123Subdomain(name)) == 0 && slices.Contains(c.offered, name):
		return nil, fail(kindForbidden, fmt.Sprintf("The kernel %q is not allowed for you; %s.", name, theirs))
	default:
		return nil, fail(kindNotFound, fmt.Sprintf("There is no kernel %q at this gateway; %s.", clip(name, 64), theirs))
	}
}

// specModel is a kernelspec as clients read it. Resources is mandatory.
type specModel struct {
	Name      string            `json:"name"`
	Spec      specContent       `json:"spec"`
	Resources map[string]string `json:"resources"`
}

type specContent struct {
	Argv          []string          `json:"argv"`
	Env           map[string]string `json:"env"`
	DisplayName   string            `json:"display_name"`
	Language      string            `json:"language"`
	InterruptMode string            `json:"interrupt_mode"`
	Metadata      map[string]any    `json:"metadata"`
}

type specList struct {
	Default     string               `json:"default"`
	Kernelspecs map[string]specModel `json:"kernelspecs"`
}

// modelOf says of a kernelspec what a client needs. Its environment stays
// here: it may hold what is nobody's business.
func (c *catalogue) modelOf(ks *v1alpha1.JupyterKernelSpec) specModel {
	display := ks.Spec.DisplayName
	if display == "" {
		display = ks.Name
	}
	known := languages.Of(language(ks))
	argv := ks.Spec.Command
	if len(argv) == 0 {
		argv = known.Command
	}
	ours := map[string]any{"resources": extendedResources(ks)}
	if c.opensEnvironments(ks) {
		ours["environmentsBelow"] = c.notebook.Spec.Storage.Home.Path()
	}
	metadata := map[string]any{"elastichub": ours}
	if offersDebugger(ks) {
		metadata["debugger"] = true // JupyterLab offers its debugger only if told
	}
	return specModel{
		Name: ks.Name,
		Spec: specContent{
			Argv: append([]string{}, argv...), Env: map[string]string{}, DisplayName: display, Language: languages.Label(ks.Spec.Language),
			InterruptMode: interruptMode(ks), Metadata: metadata,
		},
		Resources: resourcesOf(ks),
	}
}

// interruptMode is what the kernelspec says, or else what the one of its
// language's kernel does: clients know no third mode.
func interruptMode(ks *v1alpha1.JupyterKernelSpec) string {
	if own := ks.Spec.InterruptMode; own == v1alpha1.InterruptMessage || own == v1alpha1.InterruptSignal {
		return string(own)
	}
	return string(cmp.Or(languages.Of(language(ks)).InterruptMode, protocol.InterruptSignal))
}

// offersDebugger reports whether a kernelspec's kernels are taken to speak the
// debugger's protocol, as ipykernel does.
func offersDebugger(ks *v1alpha1.JupyterKernelSpec) bool {
	return languages.Of(language(ks)).Debugger
}

func language(ks *v1alpha1.JupyterKernelSpec) string {
	if ks == nil {
		return languages.Default
	}
	return languages.Name(ks.Spec.Language)
}

// extendedResources are the scarce ones a kernel takes, such as nvidia.com/gpu.
func extendedResources(ks *v1alpha1.JupyterKernelSpec) map[string]string {
	found := map[string]string{}
	if ks == nil || ks.Spec.Resources == nil {
		return found
	}
	for name, quantity := range ks.Spec.Resources.Limits {
		if strings.Contains(string(name), "/") && !quantity.IsZero() {
			found[string(name)] = quantity.String()
		}
	}
	return found
}

func (c *catalogue) list() specList {
	l := specList{Default: c.fallback, Kernelspecs: map[string]specModel{}}
	for _, ks := range c.specs {
		l.Kernelspecs[ks.Name] = c.modelOf(ks)
	}
	return l
}
