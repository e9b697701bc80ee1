#!/usr/bin/env bash
# Type what the pages say, or run the test that is named, beside the demo that `make run` started, in a
# namespace of its own and with a JupyterHub from pip. Needs root, as the demo does.
set -euo pipefail
cd "$(dirname "$0")/../.."

{ command -v node && command -v npm; } >/dev/null || test/packages.sh nodejs npm
eval "$(charts/demo/env.sh)"
export ELASTICHUB_CACHE=${ELASTICHUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}
CGO_ENABLED=0 GOFLAGS=-trimpath GOTEST_FORMAT=standard-verbose \
  exec test/gotest.sh ./test/docs -tags e2e -count=1 -timeout 15m -run "^${1:-TestPagesWordForWord}\$"
