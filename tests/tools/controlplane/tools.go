//go:build tools

// Package controlplane pins the control plane that the cluster tests run against.
// It is never compiled itself: ../install builds the commands that it imports.
package controlplane

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
)
