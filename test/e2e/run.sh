#!/usr/bin/env bash
# run.sh [PART...]: on the demo that `make run` started, the journeys in Chromium
# (journeys), then what breaks beneath them (faults), and what concerns all that runs
# in the cluster (cluster); all, if no part is named.
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

# Of test/faults: the API server away, the only node without room, devices and pools of
# nodes, and a hundred of a user's at once.
all='^(TestAPIServerAway|TestAKernelOutlivesItsServer|TestAPoolGrowsFromZero|TestDevicesByClaimsAreLent|TestAHundred.*)$'

broken() {
  (cd ../.. && CGO_ENABLED=0 GOFLAGS=-trimpath GOTEST_FORMAT=standard-verbose \
    test/gotest.sh ./test/faults -tags e2e -count=1 -timeout 35m "$@")
}
faults() { broken -skip "$all"; }
cluster() { broken -run "$all"; }

[ $# -gt 0 ] || set -- journeys faults cluster
status=0
for part; do
  "$part" || status=1
done
exit "$status"
