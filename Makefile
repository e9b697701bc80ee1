# elastichub: `make run` starts the demo, `make test` is all that CI runs.
# Downloads and builds are cached outside the tree, in $(CACHE).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ELASTICHUB_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/elastichub
export ELASTICHUB_CACHE
CACHE := $(ELASTICHUB_CACHE)
LOCALCLUSTER := $(CACHE)/bin/localcluster
# One set of flags for build, vet and test: one set of compiled packages.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The demo on a cluster that exists. KUBECONFIG counts only when it is given to make
# itself: make env exports it.
DEMO_KUBECONFIG :=
NAMESPACE ?= elastichub
ifeq ($(origin KUBECONFIG),command line)
ifneq ($(filter-out run stop env preflight clients built-images,$(or $(MAKECMDGOALS),help)),)
$(error KUBECONFIG=… is for make run, make env and make stop: nothing else runs on a cluster that exists)
endif
ifeq ($(strip $(KUBECONFIG)),)
$(error KUBECONFIG is empty: name the file that says which cluster)
endif
DEMO_KUBECONFIG := $(abspath $(KUBECONFIG))
run stop env: export DEMO_NAMESPACE := $(NAMESPACE)
run stop env: export DEMO_REGISTRY := $(REGISTRY)
endif
run stop env: export DEMO_KUBECONFIG := $(DEMO_KUBECONFIG)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

##@ The demo

.PHONY: run
run: ## Start everything on a local Kubernetes (NODES=2: of two nodes), or with KUBECONFIG=… REGISTRY=… on yours, and print where to go
ifneq ($(DEMO_KUBECONFIG),)
	@$(MAKE) --no-print-directory preflight
	@$(MAKE) --no-print-directory -j2 clients built-images
	@charts/demo/images.sh push
else
	@$(MAKE) --no-print-directory -j2 cluster built-images
	@charts/demo/images.sh load
endif
	@charts/demo/install.sh

.PHONY: stop
stop: $(LOCALCLUSTER) ## Stop everything that run started
	@$(if $(DEMO_KUBECONFIG),charts/demo/stop.sh,$(LOCALCLUSTER) down)

.PHONY: env
env: $(LOCALCLUSTER) ## Print shell exports for clients of the running demo
	@charts/demo/env.sh

.PHONY: cluster
cluster: $(LOCALCLUSTER)
	@$(LOCALCLUSTER) up $(if $(NODES),--nodes $(NODES)) $(if $(IP_FAMILY),--ip-family $(IP_FAMILY))

# What a cluster that exists lacks is told before anything is built for it.
.PHONY: preflight
preflight:
	@test/gobuild.sh -o $(CACHE)/bin/demo-preflight ./charts/demo/preflight
	@$(CACHE)/bin/demo-preflight "$(DEMO_KUBECONFIG)" "$(NAMESPACE)" "$(REGISTRY)"

.PHONY: clients
clients: $(LOCALCLUSTER)
	@$(LOCALCLUSTER) clients >/dev/null

.PHONY: images
images: built-images
	@charts/demo/images.sh load

# Needs no cluster: with -j2 the images are built while its components compile.
.PHONY: built-images
built-images: $(LOCALCLUSTER) dist/elastichub
	@charts/demo/images.sh build

##@ Building

.PHONY: dist/elastichub
dist/elastichub:
	@test/gobuild.sh -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/elastichub

.PHONY: $(LOCALCLUSTER)
$(LOCALCLUSTER):
	@cd localcluster && ../test/gobuild.sh -o $@ ./cmd/localcluster >&2

.PHONY: generate
generate: ## Make the generated code anew
	@go tool controller-gen object paths=./api/...
	@go tool controller-gen crd paths=./api/... output:crd:dir=charts/elastichub/crds
	@go run ./api/crdschema charts/elastichub/crds
	@go tool templ generate -path web >/dev/null
	@gofmt -l -w api web

.PHONY: release
release: $(LOCALCLUSTER) ## One archive of images, charts, kinds, wheel, binaries and SBOMs of this version, in dist/release
	@release/release.sh

##@ Checking

.PHONY: test
test: ## Everything CI needs: lint, verify, unit, python, clients, end to end
	@test/all.sh

.PHONY: test-long
test-long: $(LOCALCLUSTER) ## Everything with its full counts, four hours at most (LONG_MINUTES=240): before a release, and each night
	@test/long.sh

.PHONY: lint
lint: $(LOCALCLUSTER) ## Static analysis of Go, Python, shell and the charts
	@test/lint.sh

.PHONY: verify
verify: generate ## Fail if generated code is not what the sources give, or is known to be weak
	@git diff --exit-code --stat -- api web charts/elastichub/crds || { echo "generated code is out of date: commit what make generate wrote" >&2; exit 1; }
	@test/vulnerabilities.sh

.PHONY: unit
unit: $(LOCALCLUSTER) ## Go tests against a real API server, directory and ipykernel
	@test/unit.sh

.PHONY: race
race: export CGO_ENABLED := 1
race: $(LOCALCLUSTER) ## The same with the race detector; needs a C compiler
	@test/unit.sh -race -timeout 45m

.PHONY: python
python: ## Tests of the Python distribution against a real JupyterHub, and of a parked kernel's state
	@python/test.sh
	@$(MAKE) --no-print-directory python-beside

.PHONY: python-beside
python-beside:
	@python/keep/test.sh
	@python/test.sh 'jupyterhub>=6,<7' tests/test_spawner.py tests/test_contract.py tests/test_signin.py

.PHONY: notebooks
notebooks: ## Notebooks whose kernel is parked after every cell
	@KEEP_LONG=1 python/keep/test.sh test_notebooks.py

.PHONY: hub-tests
hub-tests: cluster images ## JupyterHub's own tests, 5.x and 6.x, on ElasticSpawner with real Pods
	@test/hub/all.sh

.PHONY: panels-test
panels-test: $(LOCALCLUSTER) ## Every panel and alert asked of a real Prometheus, on the running demo
	@test/panels/run.sh

.PHONY: monitoring-test
monitoring-test: $(LOCALCLUSTER) ## Servers stopped or kept by what a real Prometheus has measured, on the cluster that runs; builds Prometheus once
	@test/monitoring/run.sh

.PHONY: client-tests
client-tests: $(LOCALCLUSTER) ## Other people's tests of kernels and clients through a gateway; schemathesis on both APIs
	@test/clients/run.sh

.PHONY: e2e
e2e: ## The journeys in Chromium, on the running demo
	@test/e2e/run.sh

.PHONY: nodes-test
nodes-test: $(LOCALCLUSTER) ## Homes, drains and cordons on two nodes: adds one to the running demo, and removes it
	@test/faults/nodes.sh

.PHONY: network-test
network-test: $(LOCALCLUSTER) ## The demo on a cluster of IPv6 alone, and of both families (IP_FAMILIES="ipv6 dual"); ends the demo that runs
	@test/faults/networks.sh $(IP_FAMILIES)

.PHONY: tamper
tamper: cluster images ## Programs that want to keep their kernels' GPUs, in real Pods
	@test/tamper/run.sh

.PHONY: existing-test
existing-test: ## The demo on a cluster that exists: the local one, with another namespace and a registry
	@test/existing/run.sh

.PHONY: airgap-test
airgap-test: $(LOCALCLUSTER) ## A whole release, installed from its archive and a registry with its images alone, on the cluster that runs
	@test/existing/airgap.sh

.PHONY: upgrade-test
upgrade-test: $(LOCALCLUSTER) ## The release before, upgraded to this tree and rolled back while people work (UPGRADE_NOTEBOOKS=50), beside the running demo
	@test/upgrade/run.sh

.PHONY: smoke
smoke: $(LOCALCLUSTER) ## The local cluster itself: Pods, network, limits, volumes, GPUs
	@cd localcluster && ../test/gotest.sh ./smoke -tags smoke -count=1 -timeout 10m

.PHONY: docs-test
docs-test: ## Type what README, the chart's notes and docs/ say, beside the running demo
	@test/docs/run.sh

.PHONY: operator-test
operator-test: ## Type what README says of an operator without JupyterHub, beside the running demo; then several namespaces
	@test/docs/run.sh TestWithoutJupyterHub

.PHONY: bench
bench: ## Benchmarks; prints what was measured, on what
	@test/bench/run.sh
