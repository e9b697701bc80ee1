#!/usr/bin/env bash
# venv.sh REQUIREMENT...: print the directory of a virtual environment with this
# distribution, its tests' requirements and these, such as 'jupyterhub>=6,<7'.
set -euo pipefail
cd "$(dirname "$0")"

slug=$(printf '%s' "$1" | tr -c 'a-z0-9\n' '-')
venv=${ELASTICHUB_CACHE:-$HOME/.cache/elastichub}/venvs/python-$slug

# Made anew when what it is made of has changed, or lies elsewhere: it is an
# editable install.
mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9
made_of=$(cat pyproject.toml - <<<"$* $PWD" | sha256sum)
if [ "$(cat "$venv/.made-of" 2>/dev/null)" != "$made_of" ]; then
  echo "python: making $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet "$@" --editable '.[test]' >&2
  printf '%s' "$made_of" >"$venv/.made-of"
fi
echo "$venv"
