#!/usr/bin/env bash
# fleet.sh RESULTS: a Hub with FLEET_SERVERS (2,000) running servers, by ElasticSpawner and by
# the newest KubeSpawner: starts, rest, a new Hub process, and FLEET_OUTAGE (300) seconds without the
# API server. KWOK says that the Pods run. Needs `make images`.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/hub/common.sh
. test/hub/common.sh

results=$(realpath "${1:?usage: fleet.sh RESULTS}")
namespace=hub-fleet kwok_version=v0.7.0
begun=()
finish() {
  for pid in "${begun[@]}"; do kill "$pid" 2>/dev/null || true; done
  kill -CONT "$apiserver" 2>/dev/null || true
  "$KUBECTL" delete node kwok --ignore-not-found --wait=false >/dev/null || true
  "$KUBECTL" delete namespace "$namespace" --ignore-not-found --wait=false >/dev/null || true
  rm -rf "$work"
}

# The one whose state is beside the local cluster's configuration.
apiserver=$(pgrep -f "kube-apiserver .*$(dirname "$KUBECONFIG")/" | head -n 1)
[ -n "$apiserver" ] || {
  echo "fleet.sh: no API server of the local cluster runs here" >&2
  exit 1
}
trap finish EXIT

kwok=$ELASTICHUB_CACHE/tools/kwok-$kwok_version/kwok
[ -x "$kwok" ] || {
  echo "fleet.sh: building KWOK $kwok_version, once" >&2
  GOBIN=$(dirname "$kwok") go install "sigs.k8s.io/kwok/cmd/kwok@$kwok_version"
}

venv=$(date +%G-%V | test/venv.sh bench-hub 'jupyterhub>=5,<6' jupyterhub-kubespawner --editable "$ROOT/python")
build_server
install_chart "$namespace"
"$KUBECTL" --namespace "$namespace" patch grouppolicy everybody --type=merge --patch \
  '{"spec":{"nodeSelector":{"type":"kwok"},"tolerations":[{"key":"kwok.x-k8s.io/node","operator":"Exists"}]}}' >/dev/null

# One process answers for every server, on the node's own address.
address=$("$KUBECTL" get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
JUPYTERHUB_SERVICE_URL=http://$address:8888/ "$work/image/server" &
begun+=("$!")
sed "s|\$ADDRESS|$address|g" test/hub/bench/kwok.yaml >"$work/kwok.yaml"
awk 'BEGIN { RS = "---\n" } /kind: Node/' "$work/kwok.yaml" | "$KUBECTL" apply --filename - >/dev/null
awk 'BEGIN { RS = "---\n" } /kind: Stage/ { printf "%s---\n", $0 }' "$work/kwok.yaml" >"$work/stages.yaml"
# A node that renews no lease is lost within a minute, and its Pods are not ready any more.
"$kwok" --kubeconfig "$KUBECONFIG" --config "$work/stages.yaml" --manage-all-nodes=false --node-lease-duration-seconds=40 \
  --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake >"$work/kwok.log" 2>&1 &
begun+=("$!")
"$KUBECTL" wait --for=condition=Ready node/kwok --timeout=60s >/dev/null || {
  tail -n 20 "$work/kwok.log" >&2
  exit 1
}

# Processes of the PID namespace below cannot stop one out here.
mkdir "$work/hubs"
mkfifo "$work/hubs/outage" "$work/hubs/outage-over"
while read -r seconds <"$work/hubs/outage"; do
  kill -STOP "$apiserver"
  sleep "$seconds"
  kill -CONT "$apiserver"
  echo over >"$work/hubs/outage-over"
done &
begun+=("$!")

VERSION=$(git describe --always --dirty) KUBECONFIG=$KUBECONFIG SERVER_IMAGE=$server_image \
  in_cluster "$namespace" "$work/hubs" python "$ROOT/test/hub/bench/fleet.py" "$results" \
  "${FLEET_SERVERS:-2000}" "${FLEET_OUTAGE:-300}"
