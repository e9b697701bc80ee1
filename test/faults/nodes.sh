#!/usr/bin/env bash
# What needs two nodes, on the demo that `make run` started: adds the second node, runs the
# tests, and removes it, also if they fail.
set -euo pipefail
cd "$(dirname "$0")/../.."
eval "$(charts/demo/env.sh)"

trap 'localcluster up --nodes 1' EXIT
localcluster up --nodes 2
CGO_ENABLED=0 GOFLAGS=-trimpath GOTEST_FORMAT=standard-verbose \
  test/gotest.sh ./test/faults -tags e2e,nodes -run '^TestNodes' -count=1 -timeout 15m
