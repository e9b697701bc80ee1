#!/usr/bin/env bash
# fuzz.sh SECONDS [NAME...]: every fuzzer of the tree, or those that are named, one after the other, for
# that many seconds each. What one finds lies in testdata/fuzz beside it: commit it, and make test holds it from then on.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
shift
: "${ELASTICHUB_CACHE:?run this through make}"
KUBEBUILDER_ASSETS=${KUBEBUILDER_ASSETS:-$("$ELASTICHUB_CACHE/bin/localcluster" assets | tail -n 1)}
export KUBEBUILDER_ASSETS CGO_ENABLED=0 GOFLAGS=-trimpath
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fuzz PACKAGE NAME
fuzz() {
  local flags=(-test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "${seconds}s" -test.fuzzcachedir "$ELASTICHUB_CACHE/fuzz/$1")
  # Its workers share one API server and one service.
  [ "$1" != test/malformed ] || flags+=(-test.parallel 1)
  # Coverage guides a fuzzer, and would compile all of Kubernetes anew.
  local coverage=("-fuzz=^$2\$")
  ! go list -deps -test "./$1" | grep -qx k8s.io/client-go/rest || coverage=()
  go test -c "${coverage[@]}" -o "$work/fuzz" "./$1" && (cd "$1" && "$work/fuzz" "${flags[@]}")
}

failed=()
while IFS=: read -r file name; do
  [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
  package=$(dirname "$file")
  echo "fuzz: $package $name"
  fuzz "$package" "$name" >"$work/log" 2>&1 </dev/null || { failed+=("$package $name") && cat "$work/log"; }
  grep '^fuzz: elapsed' "$work/log" | tail -n 1 || true # it may have ended before it said so
done < <(git grep -oE '^func Fuzz[A-Za-z0-9]+' -- '*_test.go' | sed 's/func //')
[ ${#failed[@]} -eq 0 ] || { printf 'fuzz: failed: %s\n' "${failed[@]}" >&2; exit 1; }
