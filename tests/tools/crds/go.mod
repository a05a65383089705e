module spark-webhook/tests/tools/crds

go 1.26.0

// For the CustomResourceDefinitions in their folders; nothing of them is compiled, so go mod tidy would remove them.
require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
