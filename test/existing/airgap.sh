#!/usr/bin/env bash
# A whole release brought to a registry, and installed from its archive and that registry alone, beside the
# demo that `make run` started: what docs/air-gap.md says, typed. No Pod names an image of anywhere else, and
# what is typed reaches no other address. A server through the Hub, a cell on a kernel, and nothing left.
set -euo pipefail
cd "$(dirname "$0")/../.."

eval "$(charts/demo/env.sh)"
namespace=airgap work=$(mktemp -d)
HELM=$(dirname "$KUBECTL")/helm
export RELEASE=$work/release
fail() {
  echo "airgap: $*" >&2
  exit 1
}
step() { echo "airgap: $* ($SECONDS s)"; }
there() { "$KUBECTL" -n "$namespace" "$@"; }
registry='' forward=''
# shellcheck disable=SC2329 # by the trap below
finish() {
  local kind release
  [ -z "$forward" ] || kill "$forward" || true
  # While there is who ends what they lent.
  for kind in jupyternotebooks jupyterkernels; do
    there delete "$kind" --all --timeout=60s >/dev/null 2>&1 || true
  done
  for release in demo elastichub; do
    "$HELM" uninstall "$release" --namespace "$namespace" --ignore-not-found --wait --timeout=60s >/dev/null 2>&1 || true
  done
  "$KUBECTL" delete namespace "$namespace" --ignore-not-found --timeout=120s >/dev/null || true
  [ -z "$registry" ] || kill "$registry" || true
  rm -rf "$work"
}
trap finish EXIT

release/release.sh
version=$(sed -n 's/^version: //p' charts/elastichub/Chart.yaml)
# shellcheck source=release/mirror.sh
. release/mirror.sh
start_registry "$work/registry"
step "the release $version"

# From here on clients reach loopback and the cluster, and nothing else.
server=$("$KUBECTL" config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
server=${server#*://}
export HTTP_PROXY=http://127.0.0.1:1 HTTPS_PROXY=http://127.0.0.1:1 NO_PROXY=127.0.0.1,localhost,${server%:*}
export http_proxy=$HTTP_PROXY https_proxy=$HTTPS_PROXY no_proxy=$NO_PROXY
! curl -fsS --max-time 10 -o /dev/null https://registry.example.org/v2/ 2>/dev/null || fail "another registry is in reach"

mkdir "$work/home"
own=127.0.0.1:$port/elastichub
mirrored=$(HOME=$work/home mirror_release "$RELEASE/elastichub-$version.tar" "$own")
step "the images are in $own"
again=$(HOME=$work/home "$work/home/.local/bin/elastichub" mirror "$own" --archive "$RELEASE/elastichub-$version.tar" 2>&1 >/dev/null)
[ "$(grep -c ': is there$' <<<"$again")" = 5 ] || fail "mirrored again, it says: $again"

# The page's values.yaml is the demo's, whose Services the demo beside this one has no ports for.
cp "$mirrored/elastichub-demo-values.yaml" "$mirrored/values.yaml"
for block in "create namespace" "helm install demo"; do
  typed=$(commands "$block" | sed -e "s/jupyterhub/$namespace/")
  [ -n "$typed" ] || fail "docs/air-gap.md does not say: $block"
  typed=${typed/helm install demo*/"helm install demo elastichub-demo-$version.tgz -n $namespace -f mirror.yaml --set serviceType=ClusterIP"}
  # The kinds are there, of the demo beside this one.
  typed=${typed/ -f values.yaml/ -f values.yaml --set crds.upgrade=false --skip-crds}
  (cd "$mirrored" && VERSION=$version PATH=$(dirname "$KUBECTL"):$PATH bash -euo pipefail -c "$typed") >"$work/log" 2>&1 || fail "$block: $(cat "$work/log")"
done
for deployment in directory elastichub hub proxy; do
  there rollout status "deployment/$deployment" --timeout=180s >/dev/null || fail "$deployment: $(there get pods)"
done
step "installed"

"$KUBECTL" -n "$namespace" port-forward service/proxy-public :80 >"$work/forward" 2>&1 &
forward=$!
for _ in $(seq 100); do
  hub=$(sed -n 's/^Forwarding from \(127[^ ]*\) .*/http:\/\/\1/p' "$work/forward" | head -n 1)
  if [ -n "$hub" ] && curl -fsS -o /dev/null "$hub/hub/login" 2>/dev/null; then break; fi
  sleep 0.5
done
HUB_API_TOKEN=$(there get secret hub -o 'jsonpath={.data.api-token}' | base64 -d)
api() { curl -fsS -H "Authorization: token $HUB_API_TOKEN" -X "$1" "$hub/hub/api$2"; }
api POST /users/analyst >/dev/null
token=$(api POST /users/analyst/tokens | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')
printf 'print(6 * 7)\n' >"$work/cell.py"
out=$(JUPYTERHUB_API_TOKEN=$token JUPYTERHUB_API_URL=$hub/hub/api "$work/home/.local/bin/elastichub" run --start --kernel python-cpu "$work/cell.py")
[ "$out" = 42 ] || fail "the cell printed $out"
step "a server through the Hub, and a cell on a kernel"

images=$(there get pods -o 'jsonpath={.items[*].spec.containers[*].image} {.items[*].spec.initContainers[*].image}')
for image in $images; do
  [[ $image == "$own/"*":$version" ]] || fail "an image of elsewhere: $image"
done
for image in service notebook hub directory; do
  grep -qF "$own/$image:$version" <<<"$images" || fail "no Pod has $image of the registry: $images"
done
there get events -o 'jsonpath={range .items[?(@.reason=="Pulling")]}{.message}{"\n"}{end}' >"$work/pulled"
grep -q "$own/" "$work/pulled" || fail "nothing was pulled: $(cat "$work/pulled")"
! grep -vF "$own/" "$work/pulled" || fail "pulled from elsewhere"
step "all images are of $own"
