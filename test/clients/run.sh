#!/usr/bin/env bash
# run.sh [SUITE...]: tests of others, unmodified, through a gateway with real
# kernels: Enterprise Gateway's integration tests, and those of
# jupyter-kernel-client, jupyter_kernel_test and ipykernel. What does not apply is
# in not_applicable.yaml. Then what schemathesis makes of the gateway's and the
# Hub's API. PYTEST_ARGS goes to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ $# -gt 0 ] || set -- enterprise_gateway jupyter_kernel_client jupyter_kernel_test ipykernel schemathesis-gateway schemathesis-hubapi
export CGO_ENABLED=0 GOFLAGS=-trimpath
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

venv=$(test/venv.sh clients jupyter_kernel_client==1.0.2 jupyter_kernel_test==0.7.0 ipykernel==7.4.0 \
  pytest pytest-asyncio pytest-cov pytest-timeout pyyaml flaky numpy pandas requests schemathesis==4.32.5 </dev/null)
sources=$(test/clients/sources.sh "$venv/bin/python")
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
KUBEBUILDER_ASSETS=${KUBEBUILDER_ASSETS:-$("${ELASTICHUB_CACHE:?run this through make}/bin/localcluster" assets | tail -n 1)}
export KUBEBUILDER_ASSETS
go build -o "$work/gateway" ./test/clients/gateway

declare -A directory=(
  [enterprise_gateway]=$sources/enterprise_gateway
  [jupyter_kernel_client]=$packages
  [jupyter_kernel_test]=$(echo "$sources"/jupyter_kernel_test-*)
  [ipykernel]=$(echo "$sources"/ipykernel-*)
)
declare -A tests=(
  [enterprise_gateway]="enterprise_gateway/itests/test_python_kernel.py enterprise_gateway/itests/test_authorization.py"
  [jupyter_kernel_client]="jupyter_kernel_client/tests"
  [jupyter_kernel_test]="test_ipykernel.py"
  [ipykernel]="tests/test_async.py tests/test_debugger.py tests/test_eventloop.py tests/test_kernel.py tests/test_message_spec.py tests/test_subshells.py"
)

run_schemathesis() {
  local counted
  SCHEMATHESIS="$venv/bin/schemathesis" go test "$1" -run TestSchemathesis -count=1 -v -timeout 20m >"$work/$suite.out" 2>&1 || {
    grep -v level= "$work/$suite.out"
    echo "clients: $suite: failed"
    return 1
  }
  counted=$(grep -A1 'Test cases:' "$work/$suite.out" | tail -n 1 | tr -s ' ')
  echo "clients: $suite:$counted"
}

run_suite() {
  local suite=$1
  case $suite in
    schemathesis-gateway) run_schemathesis ./kernels/gateway; return ;;
    schemathesis-hubapi) run_schemathesis ./hubapi; return ;;
  esac
  mkdir -p "$work/$suite/profile_default"
  # The kernels' home is the tests'.
  # shellcheck disable=SC2086
  HOME="$work/$suite" IPYTHONDIR="$work/$suite" JUPYTER_PLATFORM_DIRS=1 "$work/gateway" -python "$venv/bin/python" -log "$work/$suite.gateway" -- \
    env -C "${directory[$suite]}" SUITE="$suite" PYTHONPATH="$PWD/test/clients" GATEWAY_PROGRAM="$work/gateway" \
    PATH="$PWD/test/clients/bin:$venv/bin:$PATH" \
    ITEST_HOSTNAME_PREFIX="$(hostname)" PYTHON_KERNEL_LOCAL_NAME=python3 PYTHON_KERNEL_DISTRIBUTED_NAME=python3 AUTHORIZATION_KERNEL_NAME=python3 \
    "$PWD/test/clients/pytest.sh" -c "$PWD/test/clients/pytest.ini" --rootdir "${directory[$suite]}" ${PYTEST_ARGS:-} ${tests[$suite]}
}

declare -A running
for suite in "$@"; do
  run_suite "$suite" >"$work/$suite.log" 2>&1 &
  running[$suite]=$!
done
status=0
for suite in "$@"; do
  wait "${running[$suite]}" || status=1
  echo "clients: $suite"
  cat "$work/$suite.log"
done
grep --no-filename '^clients: ' "$work"/*.log
[ $status = 0 ] || { [ -z "${CLIENTS_KEEP:-}" ] || cp "$work"/*.gateway "$CLIENTS_KEEP"; }
exit $status
