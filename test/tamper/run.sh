#!/usr/bin/env bash
# Programs of owners who want to keep their kernels' GPUs, beside the demo that
# `make run` started, in a namespace of their own: once with everything there,
# and once with the controllers and the gateway away.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=charts/demo/tools.sh
. charts/demo/tools.sh
export KUBECTL TAMPER_NAMESPACE=${TAMPER_NAMESPACE:-tamper} TAMPER_TOKEN=the-token-of-an-owner TAMPER_RUN_SECONDS=${TAMPER_RUN_SECONDS:-150}
trap '"$KUBECTL" delete namespace "$TAMPER_NAMESPACE" --wait=false >/dev/null' EXIT
test/tamper/install.sh "$TAMPER_NAMESPACE"
for away in ${TAMPER_AWAYS:-false true}; do
  CGO_ENABLED=0 GOFLAGS=-trimpath TAMPER_AWAY=$away GOTEST_FORMAT=standard-verbose \
    test/gotest.sh ./test/tamper -tags e2e -count=1 -timeout 20m
  "$KUBECTL" -n "$TAMPER_NAMESPACE" delete jupyterkernels --all --wait >/dev/null
  "$KUBECTL" -n "$TAMPER_NAMESPACE" rollout status deployment/elastichub deployment/default --timeout=120s >/dev/null
done
