#!/usr/bin/env bash
# Install the elastichub chart and the demo beside it on the local cluster,
# wait until everything answers, and say where to go. `make run` calls it.
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

# kubectl, as the words at the end have it, looks where the demo is.
"$KUBECTL" config set-context --current --namespace="$NAMESPACE" >/dev/null
# Nothing of elastichub's needs more, kernels and notebooks neither.
"$KUBECTL" get namespace "$NAMESPACE" >/dev/null 2>&1 || "$KUBECTL" create namespace "$NAMESPACE" >/dev/null
"$KUBECTL" label --overwrite namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted >/dev/null
# Helm installs CRDs once and never updates them.
"$KUBECTL" apply --server-side --force-conflicts -f elastichub/crds >/dev/null
service=$(image service) notebook=$(image notebook) kernel=$(image kernel)
helm_apply elastichub elastichub -f demo/elastichub-values.yaml \
  --set image.name="${service%:*}" --set-string image.tag="${service##*:}" \
  --set notebooks.image="$notebook" --set kernels.image="$kernel"
# shellcheck disable=SC2086
helm_apply demo demo ${DEMO_SET:-} --set kernelIdleSeconds="$IDLE_SECONDS" \
  --set images.notebook="$notebook" --set images.kernel="$kernel" \
  --set images.hub="$(image hub)" --set images.directory="$(image directory)"

for deployment in directory elastichub hub proxy; do
  echo "waiting for $deployment"
  "$KUBECTL" -n "$NAMESPACE" rollout status "deployment/$deployment" --timeout=180s >/dev/null || {
    "$KUBECTL" -n "$NAMESPACE" get pods
    "$KUBECTL" -n "$NAMESPACE" logs "deployment/$deployment" --tail=40
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

for _ in $(seq 240); do
  curl -fsS -o /dev/null "$HUB_URL/hub/login" 2>/dev/null && break
  sleep 0.25
done
curl -fsS -o /dev/null "$HUB_URL/hub/login"

cat <<EOF

elastichub runs. Open

    $HUB_URL

and sign in; the password is $PASSWORD for all three:

    researcher   ml-research       up to 4 CPUs, GPU kernels
    analyst      analysts          up to 1 CPU, no GPU
    admin        platform-admins   up to 8 CPUs, GPU kernels

Try this as researcher:
  1. Start a server, open a notebook with "Python 3 (GPU)", run print(6*7).
  2. Watch the GPU kernel's Pod:   eval "\$(make env)"; kubectl get jupyterkernels,pods -w
  3. Wait $IDLE_SECONDS seconds. The Pod goes, the notebook says so, the GPU is free.
  4. Run a cell again: the kernel comes back by itself.
  5. See who holds what: Services, elastichub in the Hub's menu; as admin, for everybody.

make env prints shell exports for other clients, make stop ends everything.
EOF
