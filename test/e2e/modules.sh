#!/usr/bin/env bash
# Install the tests' npm packages in the cache and link them here.
set -euo pipefail
cd "$(dirname "$0")"

modules=${ELASTICHUB_CACHE:?run this through make}/e2e
mkdir -p "$modules"
cp package.json package-lock.json "$modules/"
(cd "$modules" && npm ci --no-audit --no-fund --loglevel=error)
ln -sfn "$modules/node_modules" node_modules
