package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "kubeflow.tkestack.io", Version: "v1alpha1"}

// AddToScheme registers the kinds of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&JupyterNotebook{}, &JupyterNotebookList{},
		&JupyterGateway{}, &JupyterGatewayList{},
		&JupyterKernel{}, &JupyterKernelList{},
		&JupyterKernelSpec{}, &JupyterKernelSpecList{},
		&JupyterKernelTemplate{}, &JupyterKernelTemplateList{},
		&GroupPolicy{}, &GroupPolicyList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
