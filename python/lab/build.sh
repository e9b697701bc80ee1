#!/usr/bin/env bash
# build.sh [DIRECTORY]: build the JupyterLab plugin into python/labextension, which is
# committed so that pip installs it without Node, or into a directory elsewhere.
set -euo pipefail
cd "$(dirname "$0")"

work=${ELASTICHUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}/lab
out=$(realpath -m "${1:-../labextension}")
mkdir -p "$work"
exec 9>"$work.lock"
flock 9
made_of=$(cat package.json package-lock.json | sha256sum)
if [ "$(cat "$work/.made-of" 2>/dev/null)" != "$made_of" ]; then
  cp package.json package-lock.json "$work/"
  (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
  printf '%s' "$made_of" >"$work/.made-of"
fi
(cd "$work" && rm -rf src lib labextension)
cp -r package.json rspack.config.js tsconfig.json src "$work/"
cd "$work"
node_modules/.bin/tsc
node node_modules/@jupyter/builder/lib/build-labextension.js \
  --core-package-file node_modules/@jupyterlab/core-meta/core.package.json . >build.log 2>&1 || { cat build.log >&2; exit 1; }
rm -rf "$out"
cp -r labextension "$out"
