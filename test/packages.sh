#!/usr/bin/env bash
# packages.sh NAME...: install the Debian packages that are missing.
set -euo pipefail

missing=()
for name in "$@"; do
  dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt_get() { apt-get -o DPkg::Lock::Timeout=300 -qq "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }; }
apt_get update
apt_get install -y --no-install-recommends "${missing[@]}"
