#!/usr/bin/env bash
# The journeys in Chromium, on the demo that `make run` started.
# SCREENSHOTS=<directory> keeps pictures.
set -euo pipefail
cd "$(dirname "$0")"

../packages.sh chromium fonts-dejavu-core
eval "$(../../charts/demo/env.sh)"

modules=${ELASTICHUB_CACHE:?run this through make}/e2e
mkdir -p "$modules"
cp package.json package-lock.json "$modules/"
(cd "$modules" && npm ci --no-audit --no-fund --loglevel=error)
ln -sfn "$modules/node_modules" node_modules

exec node --test --test-concurrency=1 --test-reporter=spec ./*.test.mjs
