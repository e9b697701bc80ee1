#!/usr/bin/env bash
# test.sh [JUPYTERHUB [PYTEST ARGUMENTS]]: the tests of the Python distribution, in
# an environment of their own for each requirement, such as 'jupyterhub>=6,<7'.
set -euo pipefail
cd "$(dirname "$0")"

venv=$(./venv.sh "${1:-jupyterhub>=5,<6}")
shift $(($# ? 1 : 0))
exec "$venv/bin/python" -m pytest "$@"
