#!/usr/bin/env bash
# test.sh [PYTEST ARGUMENTS]: the tests of the state of a parked kernel.
#
#   KEEP_LONG=1       every kind in kernels of its own, the libraries of libraries.txt, and
#                     notebooks that are parked after every cell
#   KEEP_PYTHONS=...  versions (3.8 3.13) or paths of interpreters with ipykernel, for the
#                     kernels of the long run
#   KEEP_PROGRAMS=N   so many random programs
set -euo pipefail
cd "$(dirname "$0")/tests"

needed=(ipykernel jupyter_client matplotlib numpy pandas pytest scikit-learn networkx pillow polars seaborn statsmodels sympy)
if [ "${KEEP_LONG:-}" = 1 ]; then
  mapfile -t -O ${#needed[@]} needed < <(grep -v "^#" libraries.txt)
fi
venv=$(../../../test/venv.sh "keep${KEEP_LONG:+-long}" "${needed[@]}" </dev/null)

pythons=()
for python in ${KEEP_PYTHONS:-}; do
  if [ ! -x "$python" ]; then
    python=$(PYTHON=python$python ../../../test/venv.sh "keep-$python" "${needed[@]:0:7}" </dev/null)/bin/python
  fi
  pythons+=("$python")
done
export KEEP_PYTHONS=${pythons[*]:-$venv/bin/python}
exec "$venv/bin/python" -m pytest "$@"
