// Package localcluster is the root of the module that brings up a real
// Kubernetes of one node, or two, on a bare Debian machine, with no container registry
// and no Docker.
//
// Every program of the control plane is built from its own Go module (see
// components/), containerd and runc come from Debian, and images are built
// from Dockerfiles on a base image made here:
//
//	up ── packages ── binaries ── state (keys, configs) ── supervisor (detached)
//	                                                          │
//	      containerd, etcd ─► kube-apiserver ─► controller-manager, scheduler,
//	                                            kubelet, kube-proxy
//	                                          ─► CoreDNS, StorageClass, GPUs
//
// The command is cmd/localcluster. What it does to the machine lives in
// internal/host, what it builds in internal/components and internal/images,
// and the cluster itself in internal/cluster.
package localcluster
