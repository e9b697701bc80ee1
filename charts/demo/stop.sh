#!/usr/bin/env bash
# Remove from a cluster that exists what make run has made there, and nothing else.
# `make stop KUBECONFIG=…` calls it.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=charts/demo/tools.sh
. ./tools.sh

./forward.sh stop
if namespace_is_ours; then
  echo "removing the demo from the namespace $NAMESPACE"
  # While there is who ends what they lent.
  for kind in jupyternotebooks jupyterkernels; do
    there=$("$KUBECTL" get customresourcedefinition "$kind.kubeflow.tkestack.io" --ignore-not-found -o name)
    [ -z "$there" ] || "$KUBECTL" -n "$NAMESPACE" delete "$kind" --all --timeout=120s >/dev/null
  done
  # Beside the namespace, Helm has made ClusterRoles and an admission policy.
  for release in demo elastichub; do
    "$HELM" uninstall "$release" --namespace "$NAMESPACE" --ignore-not-found --wait --timeout=120s >/dev/null
  done
  "$KUBECTL" delete namespace "$NAMESPACE" --timeout=180s >/dev/null
fi
remove_kinds
rm -rf "$DEMO_STATE"
echo "nothing of the demo is left in $SERVER; the registry keeps its images"
