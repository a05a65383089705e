//go:build tools

// Package controlplane pins what the tests run a Kubernetes of: the control plane of the cluster tests, and the rest of a
// node for the node tests. It is never compiled itself: ../install builds the commands that it imports.
package controlplane

import (
	_ "github.com/coredns/coredns/coremain"
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
