#!/usr/bin/env bash
# networks.sh [FAMILY...]: the demo on a local cluster of each of these families of addresses, one after
# the other, and a journey there: the Hub, a server, a kernel. The demo that runs is ended, and none is left.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- ipv6 dual

trap 'make --no-print-directory stop' EXIT
for family in "$@"; do
  make --no-print-directory stop
  make --no-print-directory run IP_FAMILY="$family"
  (
    eval "$(charts/demo/env.sh)"
    export ELASTICHUB_IP_FAMILY=$family CGO_ENABLED=0 GOFLAGS=-trimpath GOTEST_FORMAT=standard-verbose
    test/gotest.sh ./test/faults -tags e2e,networks -run '^(TestAddresses|TestRunFromALaptop)$' -count=1 -timeout 15m
  )
done
