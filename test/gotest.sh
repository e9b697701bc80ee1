#!/usr/bin/env bash
# gotest.sh PACKAGES ARGUMENT...: go test of these packages (one word) with these arguments. A
# test that fails is run by itself up to twice more, since other work on the machine may
# have been the reason, and is named in $SECOND_ATTEMPTS, if that is set.
set -euo pipefail

packages=$1
shift
gotestsum=$("$(dirname "${BASH_SOURCE[0]}")/tool.sh" gotest.tools/gotestsum@v1.13.0)
report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
"$gotestsum" --format "${GOTEST_FORMAT:-pkgname}" --rerun-fails=2 --rerun-fails-max-failures=5 --rerun-fails-run-root-test \
  --rerun-fails-report "$report" --packages "$packages" -- "$@" || status=$?
[ -z "${SECOND_ATTEMPTS:-}" ] || sed -nE 's/: (2 runs, 1|3 runs, 2) failures$//p' "$report" >>"$SECOND_ATTEMPTS"
exit $status
