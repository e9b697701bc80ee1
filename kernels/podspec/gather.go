package podspec

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/podrules"
)

// builtinSpec is the kernelspec python_kubernetes of gateways that name none,
// used unless an object of that name exists.
func builtinSpec(cfg Config, namespace string) *v1alpha1.JupyterKernelSpec {
	ks := &v1alpha1.JupyterKernelSpec{}
	ks.Name, ks.Namespace = v1alpha1.DefaultKernelName, namespace
	ks.Spec = v1alpha1.JupyterKernelSpecSpec{Language: languages.Default, DisplayName: "Python 3", Image: cfg.KernelImage}
	return ks
}

// Gather reads everything a kernel's Pod is made from; whose it is follows from
// its notebook or gateway. Errors are a *MissingError, an *InvalidError, or
// those of the reader.
func Gather(ctx context.Context, cfg Config, reader client.Reader, k *v1alpha1.JupyterKernel) (Parts, error) {
	k, err := Derive(ctx, reader, k)
	if err != nil {
		return Parts{}, err
	}
	return gatherDerived(ctx, cfg, reader, k)
}

func gatherDerived(ctx context.Context, cfg Config, reader client.Reader, k *v1alpha1.JupyterKernel) (Parts, error) {
	if err := readable(k, objectName(k)); err != nil {
		return Parts{}, err
	}
	in := Parts{Kernel: k, HubEnvironment: cfg.HubEnvironment, Proxy: cfg.Proxy}
	if err := gatherPolicies(ctx, cfg, reader, k, &in); err != nil {
		return Parts{}, err
	}
	if err := gatherAccount(ctx, cfg, reader, &in); err != nil {
		return Parts{}, err
	}
	if k.Spec.KernelSpec == "" {
		return in, nil // a complete template, or refused by buildPod
	}
	if k.Spec.Gateway == "" {
		return Parts{}, invalid("spec.gateway", "must be set with spec.kernelSpec").in(objectName(k))
	}
	in.Gateway = &v1alpha1.JupyterGateway{}
	at := k.GatewayKey()
	if err := find(ctx, reader, at.Namespace, at.Name, in.Gateway, "GatewayMissing", "JupyterGateway"); err != nil {
		return Parts{}, err
	}
	if !in.Gateway.Serves(k.Namespace) {
		return Parts{}, &MissingError{Reason: "GatewayRefused", Object: "JupyterGateway " + at.String(),
			Problem: "does not serve this namespace: its spec.allowedNamespaces does not name " + k.Namespace}
	}
	in.Spec = &v1alpha1.JupyterKernelSpec{}
	err := find(ctx, reader, at.Namespace, k.Spec.KernelSpec, in.Spec, "KernelSpecMissing", "JupyterKernelSpec")
	if errors.As(err, new(*MissingError)) && k.Spec.KernelSpec == v1alpha1.DefaultKernelName {
		in.Spec, err = builtinSpec(cfg, at.Namespace), nil
	}
	if err != nil {
		return Parts{}, err
	}
	if err := gatherTemplate(ctx, reader, in.Spec, &in); err != nil {
		return Parts{}, err
	}
	if k.Spec.Notebook != "" {
		in.Notebook = &v1alpha1.JupyterNotebook{}
		if err := find(ctx, reader, k.Namespace, k.Spec.Notebook, in.Notebook, "NotebookMissing", "JupyterNotebook"); err != nil {
			return Parts{}, err
		}
	}
	return in, nil
}

// gatherTemplate finds the template that a kernelspec names, if any.
func gatherTemplate(ctx context.Context, reader client.Reader, ks *v1alpha1.JupyterKernelSpec, in *Parts) error {
	template, err := templateRef(ks)
	if err != nil || template == "" {
		return err
	}
	in.Template = &v1alpha1.JupyterKernelTemplate{}
	return find(ctx, reader, ks.Namespace, template, in.Template, "TemplateMissing", "JupyterKernelTemplate")
}

// gatherPolicies takes those that exist; whether they suffice is admission's matter.
func gatherPolicies(ctx context.Context, cfg Config, reader client.Reader, k *v1alpha1.JupyterKernel, in *Parts) error {
	policies, err := PoliciesNamed(ctx, reader, cfg.PoliciesOf(k), k.Spec.Policies)
	if err != nil {
		return err
	}
	for i := range policies {
		if err := readable(&policies[i], "GroupPolicy "+policies[i].Name); err != nil {
			return err
		}
	}
	in.Policies = policies
	return nil
}

// PoliciesOf is the namespace of a kernel's policies: the release's.
func (c Config) PoliciesOf(k *v1alpha1.JupyterKernel) string {
	return cmp.Or(c.PolicyNamespace, k.Namespace)
}

// PoliciesNamed reads those of some policies that exist, in the order in which they are named.
func PoliciesNamed(ctx context.Context, reader client.Reader, namespace string, names []string) ([]v1alpha1.GroupPolicy, error) {
	var policies []v1alpha1.GroupPolicy
	for _, name := range names {
		var p v1alpha1.GroupPolicy
		err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &p)
		switch {
		case err == nil:
			policies = append(policies, p)
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("kernels: policy %s: %w", name, err)
		}
	}
	return policies, nil
}

// gatherAccount finds the account of the first policy in the kernel's namespace, which its owner has to have
// marked for that and for its tokens. Until then the kernel waits.
func gatherAccount(ctx context.Context, cfg Config, reader client.Reader, in *Parts) error {
	if len(in.Policies) == 0 {
		return nil
	}
	policy, account := &in.Policies[0], &corev1.ServiceAccount{}
	tokens, object := policy.Spec.ServiceAccountTokens, "GroupPolicy "+policy.Name
	if policy.Spec.ServiceAccountName == "" {
		if len(tokens) > 0 {
			return invalid("spec.serviceAccountName", "must be set with serviceAccountTokens").in(object)
		}
		return nil
	}
	if fault := podrules.AccountTokensFault(tokens, cfg.APIAudiences); fault != nil {
		return invalid("spec.serviceAccountTokens"+fault.Path, "%s", fault.Problem).in(object)
	}
	const reason = "ServiceAccountMissing"
	if err := find(ctx, reader, in.Kernel.Namespace, policy.Spec.ServiceAccountName, account, reason, "ServiceAccount"); err != nil {
		return err
	}
	if !podrules.IsForPolicy(account, policy.Name) {
		return &MissingError{Reason: reason, Object: "ServiceAccount " + account.Name,
			Problem: "is not for the policy " + policy.Name + ": its owner has not named that in the annotation " + v1alpha1.AnnotationForPolicies}
	}
	if why := podrules.WithheldToken(account, tokens); why != "" {
		return &MissingError{Reason: reason, Object: "ServiceAccount " + account.Name, Problem: why}
	}
	in.Account, in.AccountTokens = account.Name, tokens
	return nil
}

func find(ctx context.Context, reader client.Reader, namespace, name string, into client.Object, reason, kind string) error {
	err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, into)
	if apierrors.IsNotFound(err) {
		return &MissingError{Reason: reason, Object: kind + " " + name}
	}
	if err != nil {
		return fmt.Errorf("kernels: %s %s: %w", kind, name, err)
	}
	return readable(into, kind+" "+name)
}

// readable is an *InvalidError if an object of ours holds what cannot be read: it
// says something, and nobody knows what.
func readable(o any, name string) error {
	one, ours := o.(interface{ Malformed() error })
	if !ours || one.Malformed() == nil {
		return nil
	}
	return invalid("spec", "%s", one.Malformed()).in(name)
}

// templateRef is the name of a kernelspec's template, which has to be in the
// kernelspec's own namespace; empty if it has none.
func templateRef(ks *v1alpha1.JupyterKernelSpec) (string, error) {
	ref := ks.Spec.Template
	if ref == nil || ref.Name == "" {
		return "", nil
	}
	if ref.Namespace != "" && ref.Namespace != ks.Namespace {
		return "", invalid("spec.template.namespace", "must be %s", ks.Namespace).in("JupyterKernelSpec " + ks.Name)
	}
	return ref.Name, nil
}

// Trial makes the Pod of a kernel that nobody has, and returns what keeps it
// from being made: a *MissingError, an *InvalidError, or a fault of the reader.
//
// replaced tells which images are replaced; empty: none.
func Trial(ctx context.Context, cfg Config, reader client.Reader, ks *v1alpha1.JupyterKernelSpec) (replaced string, err error) {
	k := &v1alpha1.JupyterKernel{}
	k.Name, k.Namespace = "trial", ks.Namespace
	in := Parts{Kernel: k, Spec: ks, Gateway: &v1alpha1.JupyterGateway{}}
	if err := gatherTemplate(ctx, reader, ks, &in); err != nil {
		return "", err
	}
	_, err = Build(cfg, in)
	return ReplacedImages(cfg, ks, in.Template), err
}

// Parts is everything a kernel's Pod is made from. Gateway and Spec are nil
// for a kernel that is a complete template.
type Parts struct {
	// Kernel is as Derive returns it.
	Kernel   *v1alpha1.JupyterKernel
	Gateway  *v1alpha1.JupyterGateway
	Spec     *v1alpha1.JupyterKernelSpec
	Template *v1alpha1.JupyterKernelTemplate
	Notebook *v1alpha1.JupyterNotebook
	// Policies that exist, in the kernel's order; the first decides where it runs.
	Policies []v1alpha1.GroupPolicy
	// Account is the service account that it runs as, by the first policy; empty: none.
	Account string
	// AccountTokens are those of it that the kernel's container has.
	AccountTokens []v1alpha1.ServiceAccountToken
	// HubEnvironment is that of Config.
	HubEnvironment []string
	// Proxy is that of Config.
	Proxy podrules.Proxy
	// Warm: the Pod is to be nobody's. It is named after Kernel, which does not
	// exist, and belongs to Gateway.
	Warm bool
}
