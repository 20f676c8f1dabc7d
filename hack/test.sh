#!/usr/bin/env bash
# Runs all tests of all modules. The packages named as arguments start a Kubernetes
# control plane; they run after the others and one at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
skip=$(printf '%s\n' "$@")
go list github.com/evenkeel-dev/evenkeel/... | grep -vxF "$skip" | xargs go test -timeout 20m
# What rendering is tested against is large (Prometheus, CRDs with their CEL rules),
# and needs other versions than the product: a module outside the workspace.
(cd rendertest && GOWORK=off go test -timeout 20m ./...)
exec go test -p 1 -timeout 20m "$@"
