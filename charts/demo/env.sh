#!/usr/bin/env bash
# Print shell exports for clients of the running demo: eval "$(make env)".
set -euo pipefail
cd "$(dirname "$0")"
. ./tools.sh
[ -z "${DEMO_KUBECONFIG:-}" ] || ./forward.sh alive

secret() {
  "$KUBECTL" -n "$NAMESPACE" get secret "$1" -o "jsonpath={.data.$2}" | base64 -d
}
HUB_API_TOKEN=$(secret hub api-token)
GATEWAY_TOKEN=$(secret gateway-client token)

cat <<EOF
export KUBECONFIG=$KUBECONFIG
export KUBECTL=$KUBECTL
export PATH=$BIN:\$PATH
export HUB_URL=$HUB_URL
export HUB_API_TOKEN=$HUB_API_TOKEN
export GATEWAY_URL=$GATEWAY_URL
export GATEWAY_TOKEN=$GATEWAY_TOKEN
export LDAP_URL=$LDAP_URL
export ELASTICHUB_DEMO_NAMESPACE=$NAMESPACE
export ELASTICHUB_DEMO_PASSWORD=$PASSWORD
export ELASTICHUB_DEMO_IDLE_SECONDS=$IDLE_SECONDS
EOF
