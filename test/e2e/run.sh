#!/usr/bin/env bash
# The journeys in Chromium, on the demo that `make run` started.
# SCREENSHOTS=<directory> keeps pictures.
set -euo pipefail
cd "$(dirname "$0")"

../packages.sh chromium fonts-dejavu-core fonts-wqy-microhei
eval "$(../../charts/demo/env.sh)"

./modules.sh
exec node --test --test-concurrency=1 --test-reporter=spec ./*.test.mjs
