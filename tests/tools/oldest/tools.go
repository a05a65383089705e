//go:build tools

// Package oldest pins the oldest kube-apiserver that the cluster tests also run on (`make test-versions`). It is never
// compiled itself: ../install builds the command that it imports.
package oldest

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
