#!/usr/bin/env bash
# Install the elastichub chart and the demo beside it on the local cluster, or on
# one that exists, wait until everything answers, and say where to go. `make run` calls it.
# DEMO_SET holds further --set arguments for the demo chart.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=charts/demo/tools.sh
. demo/tools.sh

helm_apply() {
  local name=$1 chart=$2
  shift 2
  echo "installing $name"
  "$HELM" upgrade --install "$name" "$chart" --namespace "$NAMESPACE" --create-namespace "$@" >/dev/null
}

if [ -n "${DEMO_KUBECONFIG:-}" ]; then
  claim_namespace
  bring_kinds
  # The kinds are there, and those of others are not for the chart to change; Services are forwarded.
  service_values=(--set crds.upgrade=false) demo_values=(--set serviceType=ClusterIP)
else
  # kubectl, as the words at the end have it, looks where the demo is.
  "$KUBECTL" config set-context --current --namespace="$NAMESPACE" >/dev/null
  "$KUBECTL" get namespace "$NAMESPACE" >/dev/null 2>&1 || "$KUBECTL" create namespace "$NAMESPACE" >/dev/null
  # Helm installs CRDs once and never updates them.
  "$KUBECTL" apply --server-side --force-conflicts -f elastichub/crds >/dev/null
  service_values=() demo_values=()
fi
# Nothing of elastichub's needs more, kernels and notebooks neither.
"$KUBECTL" label --overwrite namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted >/dev/null
service=$(deployed service) notebook=$(deployed notebook) kernel=$(deployed kernel)
case $service in
  *@*) service_values+=(--set image.name="${service%@*}" --set image.digest="${service#*@}") ;;
  *) service_values+=(--set image.name="${service%:*}" --set-string image.tag="${service##*:}") ;;
esac
helm_apply elastichub elastichub -f demo/elastichub-values.yaml "${service_values[@]}" \
  --set notebooks.image="$notebook" --set kernels.image="$kernel"
# shellcheck disable=SC2086
helm_apply demo demo ${DEMO_SET:-} "${demo_values[@]}" --set kernelIdleSeconds="$IDLE_SECONDS" \
  --set images.notebook="$notebook" --set images.kernel="$kernel" \
  --set images.hub="$(deployed hub)" --set images.directory="$(deployed directory)"

for deployment in directory elastichub hub proxy; do
  echo "waiting for $deployment"
  "$KUBECTL" -n "$NAMESPACE" rollout status "deployment/$deployment" --timeout=180s >/dev/null || {
    "$KUBECTL" -n "$NAMESPACE" get pods
    "$KUBECTL" -n "$NAMESPACE" logs "deployment/$deployment" --tail=40 || true
    [ -z "${DEMO_KUBECONFIG:-}" ] || ../dist/elastichub doctor --kubeconfig "$KUBECONFIG" --namespace "$NAMESPACE" || true
    exit 1
  }
done
echo "waiting for the kernel gateway"
# The controllers make its Deployment, and bring it to the image just installed.
for _ in $(seq 180); do
  [ "$("$KUBECTL" -n "$NAMESPACE" get deployment default --ignore-not-found -o 'jsonpath={.spec.template.spec.containers[0].image}')" = "$service" ] && break
  sleep 0.5
done
"$KUBECTL" -n "$NAMESPACE" rollout status deployment/default --timeout=180s >/dev/null

kubectl=kubectl of_cluster=
if [ -n "${DEMO_KUBECONFIG:-}" ]; then
  demo/forward.sh start
  # shellcheck source=charts/demo/tools.sh
  . demo/tools.sh # which knows the ports now
  kubectl="kubectl -n $NAMESPACE" of_cluster=" KUBECONFIG=$DEMO_KUBECONFIG NAMESPACE=$NAMESPACE"
fi
for _ in $(seq 240); do
  curl -fsS -o /dev/null "$HUB_URL/hub/login" 2>/dev/null && break
  sleep 0.25
done
curl -fsS -o /dev/null "$HUB_URL/hub/login"

gpus=$("$KUBECTL" get nodes -o 'jsonpath={.items[*].status.allocatable.nvidia\.com/gpu}')
spec="Python 3 (GPU)" lent="GPU kernel" freed="the GPU is free" without=
if [ -z "${gpus//[0 ]/}" ]; then
  spec="Python 3 (CPU)" lent=kernel freed="what it held is free" without="
No node of this cluster offers nvidia.com/gpu, so that it cannot be shown how GPUs are
lent: a cell of \"Python 3 (GPU)\" waits in the queue, and says so.
"
fi

cat <<EOF

elastichub runs. Open

    $HUB_URL

and sign in; the password is $PASSWORD for all three:

    researcher   ml-research       up to 4 CPUs, GPU kernels
    analyst      analysts          up to 1 CPU, no GPU
    admin        platform-admins   up to 8 CPUs, GPU kernels
$without
Try this as researcher:
  1. Start a server, open a notebook with "$spec", run print(6*7).
  2. Watch the $lent's Pod:   eval "\$(make env$of_cluster)"; $kubectl get jupyterkernels,pods -w
  3. Wait $IDLE_SECONDS seconds. The Pod goes, the notebook says so, $freed.
  4. Run a cell again: the kernel comes back by itself.
  5. See who holds what: Services, elastichub in the Hub's menu; as admin, for everybody.

make env$of_cluster prints shell exports for other clients, make stop$of_cluster ends everything.
EOF

if [ -n "${DEMO_KUBECONFIG:-}" ]; then
  echo
  echo "What elastichub doctor says of this cluster:"
  ../dist/elastichub doctor --kubeconfig "$KUBECONFIG" --namespace "$NAMESPACE" || [ $? -eq 1 ]
fi
