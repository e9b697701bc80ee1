#!/usr/bin/env bash
# gobuild.sh ARGUMENT...: go build, which says what it builds at once, counts
# the modules that it downloads instead of naming each, and shows that it works.
set -euo pipefail

what=$(basename "${*: -1}")
began=$SECONDS downloads=0 shown=0
echo "building $what"
pipe=$(mktemp -d)
trap 'rm -rf "$pipe"' EXIT
mkfifo "$pipe/said"
go build "$@" 2>"$pipe/said" &
pid=$!
exec 3<"$pipe/said"
while true; do
  if IFS= read -r -t 5 line <&3; then
    case $line in
      "go: downloading "*) downloads=$((downloads + 1)) ;;
      *) printf '%s\n' "$line" >&2 ;;
    esac
  elif [ $? -le 128 ]; then
    break # the end of what it says, not of the wait
  fi
  if [ $((SECONDS - began - shown)) -ge 5 ]; then
    shown=$((SECONDS - began))
    echo "building $what … $shown s, $downloads modules downloaded"
  fi
done
wait "$pid"
