# Sourced by install.sh and env.sh: where the tools and the demo are. deployed NAME
# is the demo's image of that name as its Pods have it.
# shellcheck shell=bash disable=SC2034
# shellcheck source=charts/demo/tags.sh
. "$(dirname "${BASH_SOURCE[0]}")/tags.sh"
KUBECTL=$BIN/kubectl
HELM=$BIN/helm
PASSWORD=elastichub-demo
IDLE_SECONDS=60
if [ -n "${DEMO_KUBECONFIG:-}" ]; then
  # shellcheck source=charts/demo/existing.sh
  . "$(dirname "${BASH_SOURCE[0]}")/existing.sh"
else
  KUBECONFIG=$("$BIN/localcluster" kubeconfig)
  NAMESPACE=elastichub
  HUB_URL=http://localhost:30080
  GATEWAY_URL=http://localhost:30888
  LDAP_URL=ldap://localhost:30389
  deployed() { image "$1"; }
fi
export KUBECONFIG
