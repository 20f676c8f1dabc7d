#!/usr/bin/env bash
# Builds programs into bin/ and shows how far it is: the first build compiles
# Kubernetes, which takes minutes.
#   hack/build.sh PACKAGE... [-- PACKAGE-WITH-KUBERNETES]
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p bin

# progress counts the packages that `go build -v` names on standard error.
progress() {
	local total=$1 n=0 line
	while IFS= read -r line; do
		if [[ $line =~ ^[a-zA-Z0-9._/~-]+$ ]]; then
			n=$((n + 1))
			if [[ -t 2 ]]; then
				printf '\r\033[Kcompiling: %d of at most %d packages' "$n" "$total" >&2
			elif ((n % 200 == 0)); then
				printf 'compiling: %d of at most %d packages\n' "$n" "$total" >&2
			fi
		else
			printf '%s\n' "$line" >&2 # an error, or a download
		fi
	done
	if [[ -t 2 ]] && ((n > 0)); then printf '\r\033[K' >&2; fi
}

build() {
	local total
	total=$(go list -deps "$@" | wc -l)
	go build -v -ldflags '-s -w' -o bin/ "$@" 2> >(progress "$total")
}

plain=()
while (($#)) && [[ $1 != -- ]]; do plain+=("$1"); shift; done
shift || true
if (($#)) && [[ ! -x bin/evenkeel-rehearse ]]; then
	echo 'building; the first time this takes about 5 minutes on 2 cores, since it compiles Kubernetes' >&2
fi
# Static, so that they run in any image: evenkeel-run is copied into those of others.
CGO_ENABLED=0 build "${plain[@]}"
(($#)) && build "$@"
wait
