#!/usr/bin/env bash
# test.sh [JUPYTERHUB]: the tests of the Python distribution, in an environment
# of their own for each requirement, such as 'jupyterhub>=6,<7'.
set -euo pipefail
cd "$(dirname "$0")"

hub=${1:-jupyterhub>=5,<6}
slug=$(printf '%s' "$hub" | tr -c 'a-z0-9\n' '-')
venv=${ELASTICHUB_CACHE:-$HOME/.cache/elastichub}/venvs/python-$slug

# Made anew when what it is made of has changed, or lies elsewhere: it is an
# editable install.
made_of=$(cat pyproject.toml - <<<"$hub $PWD" | sha256sum)
if [ "$(cat "$venv/.made-of" 2>/dev/null)" != "$made_of" ]; then
  echo "python: making $venv"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet "$hub" --editable '.[test]'
  printf '%s' "$made_of" >"$venv/.made-of"
fi

exec "$venv/bin/python" -m pytest
