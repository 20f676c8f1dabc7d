#!/usr/bin/env bash
# Runs all tests of all modules. The packages named as arguments run after the others
# and one at a time. Nothing is taken from the cache: many tests run programs that it
# does not know of.
set -euo pipefail
cd "$(dirname "$0")/.."
skip=$(printf '%s\n' "$@")
go list github.com/evenkeel-dev/evenkeel/... | grep -vxF "$skip" | xargs go test -count=1 -timeout 20m
for dir in $(hack/modules.sh outside); do
	(cd "$dir" && GOWORK=off go test -count=1 -timeout 20m ./...)
done
exec go test -count=1 -p 1 -timeout 20m "$@"
