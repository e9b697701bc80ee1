#!/usr/bin/env bash
# run.sh [SUITE...]: tests of others, unmodified, through a gateway with real
# kernels: Enterprise Gateway's integration tests, and those of
# jupyter-kernel-client, jupyter_kernel_test and ipykernel. What does not apply is
# in not_applicable.yaml. Then what schemathesis makes of the gateway's, the
# Hub's and people's API, with SCHEMATHESIS_EXAMPLES for each operation, 300 unless set. PYTEST_ARGS goes to pytest, the gateways' logs to the directory
# CLIENTS_KEEP when something fails.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ $# -gt 0 ] || set -- ipykernel schemathesis-gateway schemathesis-hubapi schemathesis-portal jupyter_kernel_client enterprise_gateway jupyter_kernel_test
export CGO_ENABLED=0 GOFLAGS=-trimpath SCHEMATHESIS_EXAMPLES=${SCHEMATHESIS_EXAMPLES:-300}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

VENV=$(test/venv.sh clients jupyter_kernel_client==1.0.2 jupyter_kernel_test==0.7.0 ipykernel==7.4.0 \
  pytest pytest-asyncio pytest-cov pytest-rerunfailures pytest-timeout pyyaml flaky numpy pandas requests schemathesis==4.32.5 </dev/null)
SOURCES=$(test/clients/sources.sh "$VENV/bin/python")
KUBEBUILDER_ASSETS=${KUBEBUILDER_ASSETS:-$("${ELASTICHUB_CACHE:?run this through make}/bin/localcluster" assets | tail -n 1)}
export WORK VENV SOURCES KUBEBUILDER_ASSETS
go build -o "$WORK/gateway" ./test/clients/gateway
for package in kernels/gateway hubapi portal; do
  go test -c -o "$WORK/schemathesis-${package##*/}" "./$package"
done
"$WORK/gateway" api test/clients/suites.sh "$@"
