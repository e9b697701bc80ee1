// Package v1alpha1 holds the kinds of kubeflow.tkestack.io/v1alpha1.
//
// Five of them are those of elastic-jupyter-operator, with the same names and
// the same fields plus optional ones, so that its manifests apply unchanged.
// The sixth, GroupPolicy, maps directory groups to what their members may have.
//
// All durable state of elastichub lives in these objects.
//
// +kubebuilder:object:generate=true
// +groupName=kubeflow.tkestack.io
package v1alpha1
