#!/usr/bin/env bash
# All that CI runs, cheapest first, each step with its time.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  local began=$SECONDS
  echo "== $*"
  "$@"
  echo "== $* took $((SECONDS - began)) s"
}

step make --no-print-directory lint
step make --no-print-directory verify
step make --no-print-directory unit
step make --no-print-directory python

trap 'make --no-print-directory stop' EXIT
step make --no-print-directory run
step release/release_test.sh
step make --no-print-directory hub-tests
TAMPER_AWAYS=true step make --no-print-directory tamper
step make --no-print-directory docs-test
step make --no-print-directory e2e
echo "== all passed in $SECONDS s"
