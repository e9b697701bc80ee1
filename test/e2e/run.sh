#!/usr/bin/env bash
# run.sh [PART...]: on the demo that `make run` started, the journeys in Chromium
# (journeys), then what breaks beneath them (faults); both, if no part is named.
# SCREENSHOTS=<directory> keeps pictures.
# shellcheck disable=SC2329 # functions are called by their names
set -euo pipefail
cd "$(dirname "$0")"

eval "$(../../charts/demo/env.sh)"

journeys() {
  local journey status=0
  ../packages.sh chromium fonts-dejavu-core fonts-wqy-microhei || return
  ./modules.sh || return
  for journey in ./*.test.mjs; do
    node --test --test-reporter=spec "$journey" && continue
    # As in test/gotest.sh.
    if node --test --test-reporter=spec "$journey"; then
      echo "test/e2e/${journey#./}" >>"${SECOND_ATTEMPTS:-/dev/null}"
    else
      status=1
    fi
  done
  return "$status"
}

faults() {
  (cd ../.. && CGO_ENABLED=0 GOFLAGS=-trimpath GOTEST_FORMAT=standard-verbose \
    test/gotest.sh ./test/faults -tags e2e -count=1 -timeout 35m)
}

[ $# -gt 0 ] || set -- journeys faults
status=0
for part; do
  "$part" || status=1
done
exit "$status"
