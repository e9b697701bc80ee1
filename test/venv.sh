#!/usr/bin/env bash
# venv.sh NAME PIP-ARGUMENT...: print the directory of the cached virtual
# environment of that name, in which pip has installed the arguments. It is made
# anew when they have changed, or standard input: what else it is made of. PYTHON is the
# interpreter, python3 if it is not set.
set -euo pipefail

venv=${ELASTICHUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}/venvs/$1
shift

mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9
made_of=$({ printf '%s\n' "$@"; cat; } | sha256sum)
if [ "$(cat "$venv/.made-of" 2>/dev/null)" != "$made_of" ]; then
  echo "python: making $venv" >&2
  rm -rf "$venv"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 9>&-
  printf '%s' "$made_of" >"$venv/.made-of"
fi
echo "$venv"
