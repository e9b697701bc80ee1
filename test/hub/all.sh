#!/usr/bin/env bash
# The newest release of each line of JupyterHub: its own tests, one release after
# the other, since their lanes fill two cores, and then the scenarios on both.
set -euo pipefail
cd "$(dirname "$0")"

versions=(5.5.4 6.1.1)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
status=0
for version in "${versions[@]}"; do
  ./run.sh "$version" api named pages spawner || status=1
done
running=()
for version in "${versions[@]}"; do
  ./run.sh "$version" scenarios >"$logs/$version" 2>&1 &
  running+=($!)
done
for i in "${!versions[@]}"; do
  wait "${running[$i]}" || status=1
  cat "$logs/${versions[$i]}"
done
exit $status
