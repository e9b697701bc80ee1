#!/usr/bin/env bash
# test.sh [JUPYTERHUB [PYTEST ARGUMENTS]]: the tests of the Python distribution, in
# an environment of their own for each requirement, such as 'jupyterhub>=6,<7'. One
# that fails is run up to twice more and named, as in test/gotest.sh. Some look at
# JupyterLab in Chromium.
# PYTEST_WORKERS is how many processes run them, a file at a time in each (3; 0: pytest
# itself, for a debugger).
set -euo pipefail
cd "$(dirname "$0")"

../test/packages.sh chromium fonts-dejavu-core
venv=$(./venv.sh "${1:-jupyterhub>=5,<6}")
shift $(($# ? 1 : 0))
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$venv/bin/python" -m pytest --numprocesses "${PYTEST_WORKERS:-3}" --dist loadfile -rR --reruns 2 --rerun-show-tracebacks "$@" | tee "$log" || status=$?
sed -n 's/^RERUN /python\//p' "$log" >>"${SECOND_ATTEMPTS:-/dev/null}"
exit "${status:-0}"
