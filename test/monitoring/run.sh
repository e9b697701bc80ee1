#!/usr/bin/env bash
# Notebook servers that are stopped or kept by what a real Prometheus has measured, in a release
# of the chart of its own. Needs the local cluster and `make images`.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=charts/demo/tools.sh
. charts/demo/tools.sh

# Of what finds targets, the part for Kubernetes: all of it takes twice as long to build.
PROMETHEUS=$(GOFLAGS='-trimpath -tags=remove_all_sd,enable_kubernetes_sd,netgo' test/tool.sh github.com/prometheus/prometheus/cmd/prometheus@v0.316.0)
SERVICE_IMAGE=$(image service) KERNEL_IMAGE=$(image kernel) NOTEBOOK_IMAGE=$(image notebook)
KUBEBUILDER_ASSETS=$("$BIN/localcluster" assets | tail -n 1)
export PROMETHEUS SERVICE_IMAGE KERNEL_IMAGE NOTEBOOK_IMAGE KUBEBUILDER_ASSETS KUBECTL
GOTEST_FORMAT=testname test/gotest.sh ./test/monitoring -tags e2e -count=1 -timeout 10m
