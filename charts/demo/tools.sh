# Sourced by install.sh and env.sh: where the tools and the demo are.
# shellcheck shell=bash disable=SC2034
# shellcheck source=charts/demo/tags.sh
. "$(dirname "${BASH_SOURCE[0]}")/tags.sh"
KUBECTL=$BIN/kubectl
HELM=$BIN/helm
KUBECONFIG=$("$BIN/localcluster" kubeconfig)
export KUBECONFIG
NAMESPACE=elastichub
HUB_URL=http://localhost:30080
GATEWAY_URL=http://localhost:30888
LDAP_URL=ldap://localhost:30389
PASSWORD=elastichub-demo
IDLE_SECONDS=60
