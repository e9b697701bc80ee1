#!/usr/bin/env bash
# spawns.sh RESULTS: what starts and stops cost with ElasticSpawner and with the newest
# KubeSpawner, on the local cluster, and how long they take. Needs `make images`.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/hub/common.sh
. test/hub/common.sh

results=$(realpath "${1:?usage: spawns.sh RESULTS}")
namespace=hub-spawns
finish() {
  "$KUBECTL" delete namespace "$namespace" --ignore-not-found --wait=false >/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

# The newest of each, within the Hub's line that most installations have.
venv=$(date +%G-%V | test/venv.sh bench-hub 'jupyterhub>=5,<6' jupyterhub-kubespawner --editable "$ROOT/python")
build_server
install_chart "$namespace"
mkdir "$work/hubs"
VERSION=$(git describe --always --dirty) KUBECONFIG=$KUBECONFIG SERVER_IMAGE=$server_image \
  in_cluster "$namespace" "$work/hubs" python "$ROOT/test/hub/bench/spawns.py" "$results"
