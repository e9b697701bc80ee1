#!/usr/bin/env bash
# The newest release of each line of JupyterHub, at the same time: most of it is
# waiting for Pods. The output of each follows when both are done.
set -euo pipefail
cd "$(dirname "$0")"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
declare -A running
for version in 5.5.4 6.1.1; do
  ./run.sh "$version" >"$logs/$version" 2>&1 &
  running[$version]=$!
done
status=0
for version in "${!running[@]}"; do
  wait "${running[$version]}" || status=1
  cat "$logs/$version"
done
exit $status
