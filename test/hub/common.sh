# Sourced by run.sh and spawns.sh: a namespace with this tree's chart, and a Hub on this
# machine that spawns there. Whoever sources it sets $venv, whose programs Hubs are run
# with, and perhaps $proxy, where Node's are, and removes $work.
# shellcheck shell=bash
# shellcheck source=charts/demo/tools.sh
. charts/demo/tools.sh
export CGO_ENABLED=0 GOFLAGS=-trimpath
work=$(mktemp -d)
venv='' proxy=''

# build_server makes the image of servers that stand for Jupyter's, $server_image.
build_server() {
  mkdir "$work/image"
  go build -ldflags '-s -w' -o "$work/image/server" ./test/hub/server
  server_image=localhost/elastichub/hub-server:$(cat "$work/image/server" test/hub/server/Dockerfile | sha256sum | cut -c1-12)
  "$BIN/localcluster" build-image --tag "$server_image" --file test/hub/server/Dockerfile \
    --build-arg BASE=localhost/elastichub/static:1 "$work/image" >/dev/null
  "$BIN/localcluster" load-image "$server_image" >/dev/null
  service=$(image service) kernel=$(image kernel) notebook=$(image notebook)
}

install_chart() {
  local namespace=$1
  "$KUBECTL" delete namespace "$namespace" --ignore-not-found >/dev/null
  "$KUBECTL" create namespace "$namespace" >/dev/null
  # The token that hub.py gives its Hubs' service.
  "$KUBECTL" --namespace "$namespace" create secret generic hub-api --from-literal="token=$(printf 'f%.0s' {1..64})" >/dev/null
  "$HELM" install elastichub charts/elastichub --namespace "$namespace" -f test/hub/values.yaml \
    --set image.name="${service%:*}" --set-string image.tag="${service##*:}" \
    --set notebooks.image="$server_image" --set kernels.image="$kernel" >/dev/null
  sed -e "s|\$SERVER_IMAGE|$server_image|" -e "s|\$NOTEBOOK_IMAGE|$notebook|" test/hub/policies.yaml |
    "$KUBECTL" apply --namespace "$namespace" --filename - >/dev/null
  "$KUBECTL" --namespace "$namespace" rollout status deployment/elastichub --timeout=180s >/dev/null
}

# in_cluster NAMESPACE DIRECTORY COMMAND...: Hub and proxy run on this machine,
# look names up as a Pod would, and leave files in the directory.
in_cluster() {
  local namespace=$1 directory=$2 node
  shift 2
  cat >"$directory/resolv.conf" <<END
nameserver $("$KUBECTL" --namespace kube-system get service kube-dns -o 'jsonpath={.spec.clusterIP}')
search $namespace.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
END
  "$KUBECTL" --namespace "$namespace" get secret elastichub-hub-token -o 'jsonpath={.data.token}' | base64 -d >"$directory/token"
  node=$("$KUBECTL" get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
  # A PID namespace ends every Hub and proxy with the tests.
  unshare --mount --pid --fork --kill-child --mount-proc --wd="$directory" bash -c 'mount --bind resolv.conf /etc/resolv.conf && exec "$@"' - \
    env PATH="$venv/bin:${proxy:+$proxy/node_modules/.bin:}$PATH" PYTHONPATH="$ROOT/test/hub:$ROOT/python/tests" \
    ELASTICHUB_URL="http://elastichub.$namespace.svc:8080" ELASTICHUB_TOKEN_FILE="$directory/token" \
    HUB_ADDRESS="$node" HUB_NAMESPACE="$namespace" KUBECTL="$KUBECTL" "$@"
}
