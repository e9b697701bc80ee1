#!/usr/bin/env bash
# The journeys in Chromium, then what breaks beneath them, on the demo that
# `make run` started.
# SCREENSHOTS=<directory> keeps pictures.
set -euo pipefail
cd "$(dirname "$0")"

../packages.sh chromium fonts-dejavu-core fonts-wqy-microhei
eval "$(../../charts/demo/env.sh)"

./modules.sh
status=0
for journey in ./*.test.mjs; do
  node --test --test-reporter=spec "$journey" && continue
  # As in test/gotest.sh.
  if node --test --test-reporter=spec "$journey"; then
    echo "test/e2e/${journey#./}" >>"${SECOND_ATTEMPTS:-/dev/null}"
  else
    status=1
  fi
done
cd ../..
CGO_ENABLED=0 GOFLAGS=-trimpath GOTEST_FORMAT=standard-verbose \
  test/gotest.sh ./test/faults -tags e2e -count=1 -timeout 35m || status=1
exit $status
