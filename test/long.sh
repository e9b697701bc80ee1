#!/usr/bin/env bash
# Everything with its full counts, each step with its time, within LONG_MINUTES (240) or less:
# a step that fails does not keep the next from running, one that the time is over for is ended, and the last lines name
# both. Needs what `make test` needs, and that no demo runs: it begins one, and ends it.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${ELASTICHUB_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}"
KUBEBUILDER_ASSETS=$("$ELASTICHUB_CACHE/bin/localcluster" assets | tail -n 1)
SECOND_ATTEMPTS=$(mktemp)
export SECOND_ATTEMPTS ELASTICHUB_CACHE KUBEBUILDER_ASSETS
ends=$((${LONG_MINUTES:-240} * 60))
reserved=300 # for what ends the demo
trap 'make --no-print-directory stop; rm -f "$SECOND_ATTEMPTS"' EXIT
failed=()

left() { echo $((ends - reserved - SECONDS)); }

# step [NAME=VALUE...] COMMAND...
step() {
  local began=$SECONDS status=0 left
  left=$(left)
  echo "== $*"
  if [ "$left" -le 0 ]; then
    failed+=("$* (no time was left)")
    return
  fi
  timeout --kill-after=60 "$left" env "$@" || status=$?
  echo "== $* took $((SECONDS - began)) s"
  [ $status -eq 0 ] || failed+=("$* ($status$([ $status -ne 124 ] || echo ': out of time'))")
}

# Without a cluster.
step make --no-print-directory lint
step make --no-print-directory verify
test/packages.sh gcc libc6-dev
step make --no-print-directory race
step python/test.sh
step make --no-print-directory python-beside
step SOAK_CYCLES=3000 GOTEST_FORMAT=standard-verbose test/gotest.sh ./test/soak -count=1 -timeout 60m
step KEEP_LONG=1 KEEP_PROGRAMS=3000 python/keep/test.sh
step SCHEMATHESIS_EXAMPLES=500 make --no-print-directory client-tests

# Beside the demo.
step make --no-print-directory run
step make --no-print-directory smoke
step make --no-print-directory hub-tests
step make --no-print-directory panels-test
step make --no-print-directory monitoring-test
step make --no-print-directory tamper
step UPGRADE_NOTEBOOKS=50 make --no-print-directory upgrade-test
step make --no-print-directory docs-test
step make --no-print-directory operator-test
step make --no-print-directory existing-test
step release/release_test.sh all
step make --no-print-directory airgap-test
step make --no-print-directory e2e
step make --no-print-directory nodes-test
step make --no-print-directory stop

# Fuzzers share what is left, ten minutes each at most.
fuzzers=$(git grep -hE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | wc -l)
each=$((($(left) - 600) / fuzzers)) # some are built first
step test/fuzz.sh $((each > 600 ? 600 : each > 20 ? each : 20))

if [ -s "$SECOND_ATTEMPTS" ]; then
  echo "== failed once and passed when run again:"
  sort -u "$SECOND_ATTEMPTS"
fi
if [ ${#failed[@]} -gt 0 ]; then
  echo "== failed, in $SECONDS s:"
  printf '%s\n' "${failed[@]}"
  exit 1
fi
echo "== all passed in $SECONDS s"
