#!/usr/bin/env bash
# Panels, alerts and monitors of the chart, asked of Prometheus as a library; the panels
# with what the demo tells that `make run` started.
set -euo pipefail
cd "$(dirname "$0")/../.."

eval "$(charts/demo/env.sh)"
KUBEBUILDER_ASSETS=$("${ELASTICHUB_CACHE:?run this through make}/bin/localcluster" assets | tail -n 1)
export KUBEBUILDER_ASSETS
cd test/panels
GOTEST_FORMAT=testname ../gotest.sh ./... -tags e2e -count=1 -timeout 10m
