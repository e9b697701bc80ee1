#!/usr/bin/env bash
# sources.sh: print the cached directory with the releases whose tests are run,
# unpacked: the tests are in two source distributions and a wheel.
set -euo pipefail

sources=$ELASTICHUB_CACHE/client-suites
made_of='jupyter_enterprise_gateway==3.3.0 ipykernel==7.4.0 jupyter_kernel_test==0.7.0'
mkdir -p "$ELASTICHUB_CACHE"
exec 9>"$sources.lock"
flock 9
if [ "$(cat "$sources/made-of" 2>/dev/null)" != "$made_of" ]; then
  echo "clients: fetching $made_of" >&2
  rm -rf "$sources"
  mkdir -p "$sources/downloads"
  cd "$sources"
  pip=("$1" -m pip download --quiet --disable-pip-version-check --no-deps --dest downloads)
  "${pip[@]}" jupyter_enterprise_gateway==3.3.0 >&2
  "${pip[@]}" --no-binary ipykernel,jupyter_kernel_test ipykernel==7.4.0 jupyter_kernel_test==0.7.0 >&2
  "$1" -m zipfile --extract downloads/jupyter_enterprise_gateway-*.whl enterprise_gateway
  for archive in downloads/*.tar.gz; do tar --extract --file "$archive"; done
  printf '%s' "$made_of" >made-of
fi
echo "$sources"
