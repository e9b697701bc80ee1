#!/usr/bin/env bash
# The journeys in Chromium, then what breaks beneath them, on the demo that
# `make run` started.
# SCREENSHOTS=<directory> keeps pictures.
set -euo pipefail
cd "$(dirname "$0")"

../packages.sh chromium fonts-dejavu-core fonts-wqy-microhei
eval "$(../../charts/demo/env.sh)"

./modules.sh
node --test --test-concurrency=1 --test-reporter=spec ./*.test.mjs
cd ../..
CGO_ENABLED=0 GOFLAGS=-trimpath exec go test -tags e2e -count=1 -timeout 20m -v ./test/faults
