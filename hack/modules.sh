#!/usr/bin/env bash
# Prints the folder of every module of the workspace; with "outside", of every module
# that stands outside it, since it would raise versions that Kubernetes is built with:
# what rendering is tested against (Prometheus, CRDs with their CEL rules), the
# library's adapter for Kafka, the Market Intel Brain, the tests of its page, which
# drive a browser, and what generates the code of its protocol.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ ${1-} == outside ]]; then
	# In one write: a reader that has seen enough must not make this fail.
	cat <<-EOF
		rendertest
		lifecycle/kafka
		platform/mib
		platform/mib/pagetest
		platform/mib/tools
		platform/mib/tools/buf
	EOF
	exit
fi
go work edit -json | sed -n 's/.*"DiskPath": "\(.*\)".*/\1/p'
