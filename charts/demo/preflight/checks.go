package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/doctor/gather"
)

// The label that charts/demo/existing.sh puts on what `make run` makes and `make stop`
// may remove: the namespace, and the kinds where there were none.
const (
	labelMadeBy = "elastichub.io/made-by"
	madeByRun   = "make-run"
)

const gpuResource = "nvidia.com/gpu"

// site is where the demo is to run.
type site struct {
	kubeconfig, namespace, registry string
}

// examine makes all checks. Without a cluster that answers only those that need none.
func (s site) examine(ctx context.Context) (report doctor.Report) {
	found := func(check string, problems ...doctor.Problem) {
		for _, p := range problems {
			p.Check = check
			report.Problems = append(report.Problems, p)
		}
	}
	found("registry", checkRegistry(ctx, s.registry)...)
	found("namespace", checkName(s.namespace)...)
	config, problems := s.load()
	if found("kubeconfig", problems...); config == nil {
		return report
	}
	picture, err := gather.Gather(ctx, config, gather.Options{Release: "elastichub", Namespace: s.namespace})
	if err != nil {
		found("cluster", unanswered(s.kubeconfig, err))
		return report
	}
	for _, p := range doctor.Diagnose(picture).Problems {
		if p.Check == "kubernetes-version" {
			report.Problems = append(report.Problems, p)
		}
	}
	found("storage-class", checkStorageClasses(picture)...)
	asker, err := newAsker(config)
	if err != nil {
		found("cluster", unanswered(s.kubeconfig, err))
		return report
	}
	found("rights", asker.checkRights(ctx)...)
	found("namespace", asker.checkNamespace(ctx, s.namespace)...)
	found("kinds", asker.checkKinds(ctx, picture.Kinds)...)
	if !offersGPUs(picture.Nodes) {
		report.NotChecked = append(report.NotChecked, fmt.Sprintf("no node offers %s: the demo runs, and a kernel that asks for a GPU waits in the queue and says so", gpuResource))
	}
	return report
}

// load reads the kubeconfig, of which there has to be one file.
func (s site) load() (*rest.Config, []doctor.Problem) {
	const fix = "name one file with a current context: make run KUBECONFIG=/path/to/kubeconfig"
	if _, err := os.Stat(s.kubeconfig); err != nil {
		return nil, []doctor.Problem{{What: fmt.Sprintf("KUBECONFIG: %v", err), Fix: fix}}
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return nil, []doctor.Problem{{What: fmt.Sprintf("%s cannot be used: %v", s.kubeconfig, err), Fix: fix}}
	}
	config.QPS, config.Burst, config.Timeout = 200, 400, preflightTime/2
	return config, nil
}

func unanswered(kubeconfig string, err error) doctor.Problem {
	var unreachable *gather.UnreachableError
	if errors.As(err, &unreachable) {
		err = errors.Unwrap(unreachable)
	}
	return doctor.Problem{
		What: fmt.Sprintf("the cluster of %s does not answer: %v", kubeconfig, err),
		Fix:  "start the cluster, or renew the kubeconfig, until kubectl --kubeconfig " + kubeconfig + " get nodes answers",
	}
}

func checkName(namespace string) []doctor.Problem {
	faults := validation.IsDNS1123Label(namespace)
	if len(faults) == 0 {
		return nil
	}
	return []doctor.Problem{{What: fmt.Sprintf("NAMESPACE=%s: %s", namespace, strings.Join(faults, ", ")), Fix: "give another name"}}
}

// checkStorageClasses: the Hub's claim and those of homes name no class.
func checkStorageClasses(picture doctor.Picture) []doctor.Problem {
	if slices.ContainsFunc(picture.Unread, func(u doctor.Unread) bool { return u.What == "storageclasses" }) {
		return nil // checkRights has said so
	}
	byDefault := func(c storagev1.StorageClass) bool {
		return c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true"
	}
	if slices.ContainsFunc(picture.StorageClasses, byDefault) {
		return nil
	}
	names := make([]string, 0, len(picture.StorageClasses))
	for _, c := range picture.StorageClasses {
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		return []doctor.Problem{{
			What: "the cluster has no StorageClass, so that the Hub's database and the homes have no volume",
			Fix:  "install a provisioner of volumes, such as local-path-provisioner, and make its class the default one",
		}}
	}
	return []doctor.Problem{{
		What: fmt.Sprintf("the cluster has no default StorageClass (only %s), so that the Hub's database and the homes have no volume", strings.Join(names, ", ")),
		Fix:  fmt.Sprintf("kubectl annotate storageclass %s storageclass.kubernetes.io/is-default-class=true", names[0]),
	}}
}

func offersGPUs(nodes []corev1.Node) bool {
	return slices.ContainsFunc(nodes, func(n corev1.Node) bool {
		quantity := n.Status.Allocatable[gpuResource]
		return quantity.Sign() > 0
	})
}

// asker asks what doctor has no need to.
type asker struct {
	api     client.Client
	reviews *kubernetes.Clientset
}

func newAsker(config *rest.Config) (asker, error) {
	api, err := client.New(config, client.Options{})
	if err != nil {
		return asker{}, err
	}
	reviews, err := kubernetes.NewForConfig(config)
	return asker{api, reviews}, err
}

// checkRights: what is made outside of the namespace, and read before. Within it, who may
// make ClusterRoles may do all.
func (a asker) checkRights(ctx context.Context) []doctor.Problem {
	var lacking []string
	for _, right := range []authorizationv1.ResourceAttributes{
		{Verb: "create", Resource: "namespaces"},
		{Verb: "create", Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
		{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
		{Verb: "bind", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
		{Verb: "list", Resource: "nodes"},
		{Verb: "list", Group: "storage.k8s.io", Resource: "storageclasses"},
	} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right}}
		answer, err := a.reviews.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil || !answer.Status.Allowed {
			lacking = append(lacking, right.Verb+" "+right.Resource)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return []doctor.Problem{{
		What: "the account of the kubeconfig may not " + strings.Join(lacking, ", "),
		Fix:  "use the kubeconfig of a cluster administrator (ClusterRole cluster-admin)",
	}}
}

// checkNamespace: one that somebody else has made is left alone, whatever is in it.
func (a asker) checkNamespace(ctx context.Context, name string) []doctor.Problem {
	namespace := &corev1.Namespace{}
	err := a.api.Get(ctx, client.ObjectKey{Name: name}, namespace)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return []doctor.Problem{{What: fmt.Sprintf("the namespace %s cannot be read: %v", name, err), Fix: "use the kubeconfig of a cluster administrator (ClusterRole cluster-admin)"}}
	case namespace.DeletionTimestamp != nil:
		return []doctor.Problem{{
			What: fmt.Sprintf("the namespace %s is being deleted", name),
			Fix:  fmt.Sprintf("kubectl wait --for=delete namespace/%s, or give another with NAMESPACE=…", name),
		}}
	case namespace.Labels[labelMadeBy] != madeByRun:
		return []doctor.Problem{{
			What: fmt.Sprintf("there is a namespace %s that make run has not made (it has no label %s=%s)", name, labelMadeBy, madeByRun),
			Fix:  "give another with NAMESPACE=…",
		}}
	}
	return nil
}

// checkKinds: definitions that run has not made serve somebody else, and are not changed.
func (a asker) checkKinds(ctx context.Context, kinds []doctor.Kind) []doctor.Problem {
	var others []string
	for _, kind := range kinds {
		if kind.State != doctor.KindDifferent {
			continue
		}
		definition := &unstructured.Unstructured{}
		definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		if err := a.api.Get(ctx, client.ObjectKey{Name: kind.Name}, definition); err != nil || definition.GetLabels()[labelMadeBy] != madeByRun {
			others = append(others, kind.Name)
		}
	}
	if len(others) == 0 {
		return nil
	}
	return []doctor.Problem{{
		What: fmt.Sprintf("the cluster has other versions than this checkout of %s, and somebody may use them", strings.Join(others, ", ")),
		Fix:  "run the demo from a checkout of the version that is installed there, or bring them to this one by `elastichub crds apply`",
	}}
}
