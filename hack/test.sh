#!/usr/bin/env bash
# Runs all tests of all modules. The packages named as arguments start a Kubernetes
# control plane; they run after the others and one at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
skip=$(printf '%s\n' "$@")
go list github.com/evenkeel-dev/evenkeel/... | grep -vxF "$skip" | xargs go test -timeout 20m
exec go test -p 1 -timeout 20m "$@"
