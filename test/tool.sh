#!/usr/bin/env bash
# tool.sh PACKAGE@VERSION: print the path of a Go program, built into the cache
# at its first use. Only for programs whose requirements would crowd go.mod.
set -euo pipefail

name=${1%@*} version=${1##*@}
dir=${ELASTICHUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}/tools/$(basename "$name")-$version
mkdir -p "$dir"
exec 9>"$dir.lock"
flock 9
program=$dir/$(basename "$name")
if [ ! -x "$program" ]; then
  echo "building $(basename "$name") $version" >&2
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  (cd / && GOBIN=$dir go install "$1") >"$log" 2>&1 9>&- || { cat "$log" >&2; exit 1; }
fi
echo "$program"
