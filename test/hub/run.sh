#!/usr/bin/env bash
# run.sh HUBVERSION [PYTEST ARGUMENT...]: JupyterHub's own tests of that release,
# then an administrator's scenarios, on ElasticSpawner with the chart of this
# tree in a namespace of its own. Needs the local cluster and `make images`.
# HUB_SUITE=suite or HUB_SUITE=scenarios runs one of the two; HUB_NAMESPACE
# names the namespace, which is removed at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."
. charts/demo/tools.sh

version=${1:?usage: run.sh HUBVERSION [PYTEST ARGUMENT...]}
shift
NAMESPACE=${HUB_NAMESPACE:-hubsuite-${version//./-}}
export CGO_ENABLED=0 GOFLAGS=-trimpath
work=$(mktemp -d)
finish() {
  "$KUBECTL" delete namespace "$NAMESPACE" --ignore-not-found --wait=false >/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

echo "hub: preparing for JupyterHub $version"
# The wheel of a release holds the tests of its source distribution, byte for byte.
venv=$(python/venv.sh "jupyterhub==$version" 'beautifulsoup4[html5lib]' cryptography mock pytest-timeout requests-mock)
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

mkdir "$work/image"
go build -ldflags '-s -w' -o "$work/image/server" ./test/hub/server
server_image=localhost/elastichub/hub-server:$(cat "$work/image/server" test/hub/server/Dockerfile | sha256sum | cut -c1-12)
"$BIN/localcluster" build-image --tag "$server_image" --file test/hub/server/Dockerfile \
  --build-arg BASE=localhost/elastichub/static:1 "$work/image" >/dev/null
"$BIN/localcluster" load-image "$server_image" >/dev/null

"$KUBECTL" delete namespace "$NAMESPACE" --ignore-not-found >/dev/null
service=$(image service)
"$HELM" install elastichub charts/elastichub --namespace "$NAMESPACE" --create-namespace -f test/hub/values.yaml \
  --set image.name="${service%:*}" --set image.tag="${service##*:}" \
  --set notebooks.image="$server_image" --set kernels.image="$(image kernel)" >/dev/null
sed -e "s|\$SERVER_IMAGE|$server_image|" -e "s|\$NOTEBOOK_IMAGE|$(image notebook)|" test/hub/policies.yaml |
  "$KUBECTL" apply --namespace "$NAMESPACE" --filename - >/dev/null
"$KUBECTL" --namespace "$NAMESPACE" rollout status deployment/elastichub --timeout=180s >/dev/null

# Hub and proxy run on this machine and look names up as a Pod would.
cat >"$work/resolv.conf" <<END
nameserver $("$KUBECTL" --namespace kube-system get service kube-dns -o 'jsonpath={.spec.clusterIP}')
search $NAMESPACE.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
END
"$KUBECTL" --namespace "$NAMESPACE" get secret elastichub-hub-token -o 'jsonpath={.data.token}' | base64 -d >"$work/token"
node=$("$KUBECTL" get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')

# The suite of JupyterHub 5 leaves files where it runs.
mkdir "$work/run"
here=$PWD
in_cluster() {
  unshare --mount --wd="$work/run" bash -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$work/resolv.conf" \
    env PATH="$venv/bin:$proxy/node_modules/.bin:$PATH" PYTHONPATH="$here/test/hub:$here/python/tests" \
    ELASTICHUB_URL="http://elastichub.$NAMESPACE.svc:8080" ELASTICHUB_TOKEN_FILE="$work/token" \
    HUB_ADDRESS="$node" HUB_NAMESPACE="$NAMESPACE" KUBECTL="$KUBECTL" "$@"
}
status=0
if [ "${HUB_SUITE:-suite}" = suite ]; then
  packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  modules="test_api test_named_servers test_pages test_spawner test_user"
  # shellcheck disable=SC2086
  in_cluster python -m pytest -c "$here/test/hub/suite.ini" --rootdir "$packages" -p suite "$@" --pyargs ${HUB_MODULES:-$(printf 'jupyterhub.tests.%s ' $modules)} || status=$?
fi
if [ "${HUB_SUITE:-scenarios}" = scenarios ]; then
  in_cluster python -m pytest -c "$here/test/hub/scenarios.ini" --rootdir "$here/test/hub" "$@" "$here/test/hub/scenarios" || status=$?
fi
exit $status
