#!/usr/bin/env bash
# All that CI runs, cheapest first, each step with its time. What waits most of the time
# runs in lanes beside other steps; what breaks the cluster beneath others runs alone, at
# the end.
# shellcheck disable=SC2329 # functions are called by their names
set -euo pipefail
cd "$(dirname "$0")/.."

SECOND_ATTEMPTS=$(mktemp)
export SECOND_ATTEMPTS
work=$(mktemp -d)
trap 'make --no-print-directory stop; rm -rf "$SECOND_ATTEMPTS" "$work"' EXIT
exec 3>&1 # times are told at once, also by a lane

step() {
  local began=$SECONDS
  echo "== $*"
  "$@"
  echo "== $* took $((SECONDS - began)) s" >&3
}

# lanes NAME...: these functions at the same time. What one printed is shown when it is over.
lanes() {
  local lane status=0
  local -A running
  for lane; do
    echo "== the lane $lane begins"
    (set -e && "$lane") >"$work/$lane" 2>&1 &
    running[$lane]=$!
  done
  for lane; do
    wait "${running[$lane]}" || status=1
    cat "$work/$lane"
  done
  return "$status"
}

units() {
  step make --no-print-directory unit
}
demo() {
  step make --no-print-directory run
  step make --no-print-directory smoke
  step make --no-print-directory docs-test
  step make --no-print-directory panels-test
  step test/upgrade/run.sh images
  step python/test.sh
}
hub() {
  step test/hub/all.sh
  SCHEMATHESIS_EXAMPLES=60 step test/clients/run.sh
  step make --no-print-directory python-beside
}
people() {
  step test/e2e/run.sh journeys
  step test/e2e/run.sh faults
}

step make --no-print-directory lint
step make --no-print-directory verify
lanes units demo
step release/release_test.sh
lanes hub people
TAMPER_AWAYS=true step test/tamper/run.sh # seconds count
step test/upgrade/run.sh
step test/e2e/run.sh cluster
if [ -s "$SECOND_ATTEMPTS" ]; then
  echo "== failed once and passed when run again:"
  sort -u "$SECOND_ATTEMPTS"
fi
echo "== all passed in $SECONDS s"
