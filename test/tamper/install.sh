#!/usr/bin/env bash
# Install a release of the chart in a namespace of its own, with Pod Security
# "restricted" enforced and an idle time of 15 s, on the cluster of `make run`.
# install.sh NAMESPACE; the images are those of this checkout.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=charts/demo/tools.sh
. charts/demo/tools.sh
namespace=$1
service=$(image service) kernel=$(image kernel)
if [ -n "$("$KUBECTL" get namespace "$namespace" --ignore-not-found -o jsonpath='{.metadata.deletionTimestamp}')" ]; then
  "$KUBECTL" wait --for=delete "namespace/$namespace" --timeout=180s >/dev/null # of the last run
fi
"$KUBECTL" create namespace "$namespace" --dry-run=client -o yaml | "$KUBECTL" apply -f - >/dev/null
"$KUBECTL" label --overwrite namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
"$HELM" upgrade --install elastichub charts/elastichub --namespace "$namespace" \
  --set image.name="${service%:*}" --set-string image.tag="${service##*:}" --set notebooks.image="$kernel" --set kernels.image="$kernel" \
  --set groups.file='users: {}' --set replicas=1 --set podDisruptionBudget.enabled=false \
  --set kernels.idleTimeoutSeconds=15 --set resources.requests.cpu=20m --set resources.limits.memory=256Mi >/dev/null
token=${TAMPER_TOKEN:-the-token-of-an-owner}
"$KUBECTL" -n "$namespace" apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Secret
metadata: {name: client}
stringData: {token: $token}
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: GroupPolicy
metadata: {name: owners}
spec:
  groups: [owners]
  cpu: {min: "1", max: "1"}
  memory: {min: 1Gi, max: 1Gi}
  images: [{id: stable, image: $kernel}]
  kernels: {allowed: [python], maxRunSeconds: ${TAMPER_RUN_SECONDS:-150}}
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterKernelSpec
metadata: {name: python}
spec:
  language: python
  displayName: Python
  image: $kernel
  resources: {requests: {cpu: 10m, memory: 64Mi}, limits: {cpu: "1", memory: 1Gi}}
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterGateway
metadata: {name: default}
spec:
  kernels: [python]
  defaultKernel: python
  resources: {requests: {cpu: 20m, memory: 32Mi}, limits: {memory: 512Mi}}
  auth: {clients: [{name: owner, policies: [owners], tokenSecretRef: {name: client, key: token}}]}
YAML
"$KUBECTL" -n "$namespace" rollout status deployment/elastichub --timeout=180s >/dev/null
for _ in $(seq 120); do
  [ -n "$("$KUBECTL" -n "$namespace" get deployment default --ignore-not-found -o name)" ] && break
  sleep 0.5
done
"$KUBECTL" -n "$namespace" rollout status deployment/default --timeout=180s >/dev/null
