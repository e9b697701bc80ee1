#!/usr/bin/env bash
# venv.sh REQUIREMENT...: print the directory of a virtual environment with this
# distribution, its tests' requirements and these, such as 'jupyterhub>=6,<7'.
set -euo pipefail
cd "$(dirname "$0")"

slug=$(printf '%s' "$1" | tr -c 'a-z0-9\n' '-')
# An editable install of this very directory.
exec ../test/venv.sh "python-$slug" "$@" --editable "${PWD}[test]" <pyproject.toml
