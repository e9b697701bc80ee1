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
  # Node ports are at loopback addresses, too, but for a cluster of IPv6 alone.
  node=$("$KUBECTL" --kubeconfig "$KUBECONFIG" get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}' 2>/dev/null || true)
  case ${node%% *} in
    *:*) node=[${node%% *}] ;;
    *) node=localhost ;;
  esac
  HUB_URL=http://$node:30080
  GATEWAY_URL=http://$node:30888
  LDAP_URL=ldap://$node:30389
  deployed() { image "$1"; }
fi
export KUBECONFIG
