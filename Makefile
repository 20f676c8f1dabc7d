# Everything here needs Go and nothing else, unless a target says so.

PROGRAMS := ./cmd/... ./platform/gateway ./platform/engine ./platform/batch
SERVICES := examples/market-intel-brain-services
EVENKEEL_DATA ?= $(wildcard $(abspath ../shared/data))
export EVENKEEL_DATA

# Tests that start a Kubernetes control plane, or put load on processes and count
# what is lost. They run one package after the other: each wants the machine for
# itself, and nothing being compiled beside it.
ALONE := $(addprefix github.com/evenkeel-dev/evenkeel/, \
	lifecycle lifecycle/grpc internal/wrapper internal/wrapper/drainproxy \
	rehearsal/internal/load rehearsal/internal/serviceproxy rehearsal/internal/kubelet rehearsal/internal/conform \
	rehearsal/internal/controlplane/controlplanetest rehearsal/internal/kubelet/kubelettest \
	rehearsal/internal/handofftest rehearsal/internal/renderedtest rehearsal/cmd/evenkeel-rehearse)

.PHONY: help rehearse rehearse-services conform-services bench-drain build services test check mib fmt tidy clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

rehearse: build ## lose spot nodes on a real control plane, and print a verdict
	bin/evenkeel-rehearse --report report $(ARGS)

rehearse-services: build services ## the same with the services of the Market Intel Brain, and an analyst
	bin/evenkeel-rehearse --bin bin/services --scenario $(SERVICES)/scenario.yaml -f $(SERVICES)/platform.yaml \
		--manifests $(SERVICES)/manifests --load $(SERVICES)/load/questions.yaml --report report $(ARGS)

conform-services: build services mib ## how well each service of the Market Intel Brain ends, some eight minutes
	$(SERVICES)/conform.sh

bench-drain: build ## take hundreds of nodes away at once, and measure
	bin/evenkeel-rehearse bench-drain --report report/bench-drain.json $(ARGS)

build: ## build all programs into bin/
	@hack/build.sh $(PROGRAMS) -- ./rehearsal/cmd/evenkeel-rehearse

test: ## run all tests
	@hack/test.sh $(ALONE)

check: ## vet, staticcheck, gofmt, govulncheck, stale generated files
	@hack/check.sh

services: ## build the services of the Market Intel Brain into bin/services
	@mkdir -p bin/services
	cd platform/mib && GOWORK=off CGO_ENABLED=0 go build -ldflags '-s -w' -o ../../bin/services/ ./cmd/...
	cp bin/evenkeel-controller bin/services/

mib: ## build the Market Intel Brain into bin/mib
	cd platform/mib && GOWORK=off go build -ldflags '-s -w' -o ../../bin/mib .

fmt: ## format the source
	gofmt -w $$(git ls-files '*.go')

tidy: ## tidy every module
	@(hack/modules.sh; hack/modules.sh outside) | while read -r dir; do (cd $$dir && GOWORK=off go mod tidy) || exit 1; done

clean: ## remove what was built
	rm -rf bin report
