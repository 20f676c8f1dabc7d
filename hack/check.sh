#!/usr/bin/env bash
# Everything that is checked besides the tests. The tools are pinned here and run
# from the module proxy; none of them is part of the product's modules.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
step() { printf '== %s\n' "$1" >&2; shift; "$@" || failed=1; }
all=github.com/evenkeel-dev/evenkeel/...

formatted() {
	local files
	files=$(gofmt -l $(git ls-files '*.go'))
	[[ -z $files ]] || { printf 'gofmt would change:\n%s\n' "$files" >&2; return 1; }
}

# Every module builds by itself too, with its own go.mod.
tidy() {
	local dir
	for dir in $(hack/modules.sh) $(hack/modules.sh outside); do
		(cd "$dir" && GOWORK=off go mod tidy -diff >/dev/null) || { echo "$dir: go.mod is not tidy: make tidy" >&2; return 1; }
	done
}

# What the patterns of the workspace do not reach.
outside() {
	local dir
	for dir in $(hack/modules.sh outside); do
		(cd "$dir" && GOWORK=off "$@" ./...) || return 1
	done
}

# The vulnerability database is on a host of its own. Where that cannot be reached
# nothing has been checked, and this says so.
vulnerabilities() {
	local dir out
	for dir in . lifecycle; do
		if ! out=$(cd "$dir" && go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./... 2>&1); then
			if grep -q 'fetching vulnerabilities' <<<"$out"; then
				echo 'NOT CHECKED: the vulnerability database cannot be reached from here' >&2
				return 0
			fi
			printf '%s\n' "$out" >&2
			return 1
		fi
	done
}

# Style of the protocol, and that it breaks no clients. buf takes minutes to build.
protocol() { (cd platform/mib/tools && GOWORK=off go run ./protogen -lint); }

step gofmt formatted
step 'go vet' go vet "$all"
# The controller that kills itself where a test says so.
step 'go vet with fault points' go vet -tags evenkeel_fault ./cmd/evenkeel-controller
step 'go vet outside the workspace' outside go vet
step staticcheck go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 "$all"
step 'staticcheck outside the workspace' outside go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
step 'go mod tidy' tidy
step govulncheck vulnerabilities
step 'buf lint, buf breaking' protocol
exit $failed
