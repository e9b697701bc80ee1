#!/usr/bin/env bash
# suites.sh SUITE...: what run.sh runs, beside its API server, all at once; with
# the names that run.sh has set.
set -euo pipefail

packages=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

declare -A directory=(
  [enterprise_gateway]=$SOURCES/enterprise_gateway
  [jupyter_kernel_client]=$packages
  [jupyter_kernel_test]=$(echo "$SOURCES"/jupyter_kernel_test-*)
  [ipykernel]=$(echo "$SOURCES"/ipykernel-*)
)
declare -A tests=(
  [enterprise_gateway]="enterprise_gateway/itests/test_python_kernel.py enterprise_gateway/itests/test_authorization.py"
  [jupyter_kernel_client]="jupyter_kernel_client/tests"
  [jupyter_kernel_test]="test_ipykernel.py"
  [ipykernel]="tests/test_async.py tests/test_debugger.py tests/test_eventloop.py tests/test_kernel.py tests/test_message_spec.py tests/test_subshells.py"
)

# The kernels have the processor first: their tests do not like to wait.
run_schemathesis() {
  local counted
  (cd "$1" && SCHEMATHESIS="$VENV/bin/schemathesis" nice "$WORK/$suite" -test.run TestSchemathesis -test.v -test.timeout 20m) >"$WORK/$suite.out" 2>&1 || {
    grep -v level= "$WORK/$suite.out"
    echo "clients: $suite: failed"
    return 1
  }
  counted=$(grep --only-matching --extended-regexp '[0-9]+ generated.*' "$WORK/$suite.out" | tail -n 1)
  echo "clients: $suite: ${counted:-nothing was tried}"
  [ -n "$counted" ]
}

run_suite() {
  local suite=$1
  case $suite in
    schemathesis-gateway) run_schemathesis kernels/gateway; return ;;
    schemathesis-hubapi) run_schemathesis hubapi; return ;;
    schemathesis-portal) run_schemathesis portal; return ;;
  esac
  mkdir -p "$WORK/$suite/profile_default"
  # The kernels' home is the tests'.
  # shellcheck disable=SC2086
  HOME="$WORK/$suite" IPYTHONDIR="$WORK/$suite" JUPYTER_PLATFORM_DIRS=1 "$WORK/gateway" -python "$VENV/bin/python" -namespace "${suite//_/-}" -log "$WORK/$suite.gateway" -- \
    env -C "${directory[$suite]}" SUITE="$suite" PYTHONPATH="$PWD/test/clients" GATEWAY_PROGRAM="$WORK/gateway" \
    PATH="$PWD/test/clients/bin:$VENV/bin:$PATH" \
    ITEST_HOSTNAME_PREFIX="$(hostname)" PYTHON_KERNEL_LOCAL_NAME=python3 PYTHON_KERNEL_DISTRIBUTED_NAME=python3 AUTHORIZATION_KERNEL_NAME=python3 \
    "$PWD/test/clients/pytest.sh" -c "$PWD/test/clients/pytest.ini" --rootdir "${directory[$suite]}" ${PYTEST_ARGS:-} ${tests[$suite]}
}

declare -A running
for suite in "$@"; do
  {
    ended=0
    run_suite "$suite" || ended=$?
    echo "clients: $suite took $SECONDS s"
    exit $ended
  } >"$WORK/$suite.log" 2>&1 &
  running[$suite]=$!
done
status=0
for suite in "$@"; do
  wait "${running[$suite]}" || status=1
  echo "clients: $suite"
  cat "$WORK/$suite.log"
  sed -n "s/^RERUN /$suite: /p" "$WORK/$suite.log" >>"${SECOND_ATTEMPTS:-/dev/null}"
done
grep --no-filename '^clients: ' "$WORK"/*.log
[ $status = 0 ] || { [ -z "${CLIENTS_KEEP:-}" ] || cp "$WORK"/*.gateway "$CLIENTS_KEEP"; }
exit $status
