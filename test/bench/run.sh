#!/usr/bin/env bash
# What things cost: Go benchmarks, and, if the demo runs, its starts and
# memory. Shared machines are noisy: medians and ratios, never a pass or fail.
set -euo pipefail
cd "$(dirname "$0")/../.."

echo "# $(uname -sr), $(nproc) CPUs, $(go version | cut -d' ' -f3)"
go test -run '^$' -bench . -benchtime 200ms -count 3 ./kernels/wire ./forms ./web ./groups | grep -E '^(pkg|Benchmark)'

if ! exports=$(charts/demo/env.sh 2>/dev/null); then
  echo "# the demo does not run: after make run this prints its figures too" >&2
  exit 0
fi
eval "$exports"
test/e2e/modules.sh
exec node test/e2e/figures.mjs
