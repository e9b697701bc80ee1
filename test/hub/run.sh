#!/usr/bin/env bash
# run.sh HUBVERSION [LANE...]: JupyterHub's own tests of that release and an
# administrator's scenarios on ElasticSpawner, with the chart of this tree. Needs
# the local cluster and `make images`. A lane has a namespace of its own, which
# it removes at the end, and runs beside the others, since most of it is waiting
# for Pods. PYTEST_ARGS goes to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/hub/common.sh
. test/hub/common.sh

version=${1:?usage: run.sh HUBVERSION [LANE...]}
shift
declare -A modules=(
  [api]="test_api"
  [named]="test_named_servers"
  [pages]="test_pages"
  [spawner]="test_spawner test_user"
)
[ $# -gt 0 ] || set -- api named pages spawner scenarios
namespace() { printf 'hubsuite-%s-%s' "${version//./-}" "$1"; }
# shellcheck disable=SC2329 # by the trap below
finish() {
  for lane in "$@"; do
    "$KUBECTL" delete namespace "$(namespace "$lane")" --ignore-not-found --wait=false >/dev/null || true
  done
  rm -rf "$work"
}
trap 'finish "$@"' EXIT

# The wheel of a release holds the tests of its source distribution, byte for byte.
venv=$(python/venv.sh "jupyterhub==$version" 'beautifulsoup4[html5lib]' cryptography mock pytest-rerunfailures pytest-timeout requests-mock)
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
proxy=$ELASTICHUB_CACHE/hub-proxy
mkdir -p "$proxy"
(
  flock 9
  cmp -s images/hub/package-lock.json "$proxy/made-of" && exit
  cp images/hub/package.json images/hub/package-lock.json "$proxy/"
  cd "$proxy"
  npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error
  cp package-lock.json made-of
) 9>"$proxy.lock"

build_server

run_lane() {
  local lane=$1 tests=()
  mkdir "$work/$lane"
  install_chart "$(namespace "$lane")"
  if [ "$lane" = scenarios ]; then
    tests=(-c "$ROOT/test/hub/scenarios.ini" --rootdir "$ROOT/test/hub" "$ROOT/test/hub/scenarios")
  else
    # shellcheck disable=SC2086,SC2207
    tests=(-c "$ROOT/test/hub/suite.ini" --rootdir "$packages" -p suite --pyargs $(printf 'jupyterhub.tests.%s ' ${modules[$lane]}))
  fi
  # shellcheck disable=SC2086
  in_cluster "$(namespace "$lane")" "$work/$lane" python -m pytest ${PYTEST_ARGS:-} "${tests[@]}"
}

declare -A running
for lane in "$@"; do
  run_lane "$lane" >"$work/$lane.log" 2>&1 &
  running[$lane]=$!
done
status=0
for lane in "$@"; do
  wait "${running[$lane]}" || status=1
  echo "hub: JupyterHub $version, $lane"
  cat "$work/$lane.log"
  sed -n "s/^RERUN /JupyterHub $version: /p" "$work/$lane.log" >>"${SECOND_ATTEMPTS:-/dev/null}"
done
awk -v version="$version" '/^counted: / { passed += $2; failed += $4; out += $6 }
  END { if (NR) printf "hub: the suite of JupyterHub %s: %d passed, %d failed, %d not applicable\n", version, passed, failed, out }' "$work"/*.log
exit $status
