# Sourced by tools.sh when make was given KUBECONFIG=…: the demo on a cluster that exists.
# The kubeconfig is read and never written. What is made there carries a label, and what
# does not carry it is neither changed nor removed.
# shellcheck shell=bash disable=SC2034
KUBECONFIG=$DEMO_KUBECONFIG
NAMESPACE=${DEMO_NAMESPACE:-elastichub}
MADE_BY=elastichub.io/made-by=make-run

"$BIN/localcluster" clients >/dev/null
SERVER=$("$KUBECTL" --kubeconfig "$KUBECONFIG" config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
# What of the demo is on this machine: names of pushed images, ports and who forwards them.
DEMO_STATE=${ELASTICHUB_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/elastichub}/existing/$(sha256sum <<<"$SERVER" | cut -c1-12)-$NAMESPACE

# forwarded NAME: the address at which forward.sh has a Service answer, or nothing.
forwarded() {
  [ ! -f "$DEMO_STATE/ports/$1" ] || printf 'localhost:%s' "$(<"$DEMO_STATE/ports/$1")"
}
HUB_URL=http://$(forwarded hub)
GATEWAY_URL=http://$(forwarded gateway)
LDAP_URL=ldap://$(forwarded directory)

# deployed NAME: the image as the cluster pulls it, by its digest.
deployed() {
  cat "$DEMO_STATE/images/$1"
}

# namespace_is_ours: whether there is the namespace, and make run has made it. Another one is an error.
namespace_is_ours() {
  # Where it is asked for, set -e does not hold.
  local there ours
  there=$("$KUBECTL" get namespace "$NAMESPACE" --ignore-not-found -o name) || exit 1
  [ -n "$there" ] || return 1
  ours=$("$KUBECTL" get namespaces -l "$MADE_BY" --field-selector "metadata.name=$NAMESPACE" -o name) || exit 1
  if [ -z "$ours" ]; then
    echo "the namespace $NAMESPACE was not made by make run (it has no label $MADE_BY): it is left alone. Fix: name another with NAMESPACE=…" >&2
    exit 1
  fi
}

claim_namespace() {
  namespace_is_ours && return
  # Made with its label: one that somebody makes at this moment is not taken.
  "$KUBECTL" create -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata:
  name: $NAMESPACE
  labels: {${MADE_BY%=*}: ${MADE_BY#*=}}
YAML
}

# bring_kinds: those that there are not, and those that run has made. The others are the
# same as here, as preflight has seen.
bring_kinds() {
  local file kind there ours
  there=$("$KUBECTL" get customresourcedefinitions -o name)
  ours=$("$KUBECTL" get customresourcedefinitions -l "$MADE_BY" -o name)
  for file in "$ROOT"/charts/elastichub/crds/*.yaml; do
    kind=customresourcedefinition.apiextensions.k8s.io/$(sed -n 's/^  name: //p' "$file" | head -n 1)
    if ! grep -qxF "$kind" <<<"$there" || grep -qxF "$kind" <<<"$ours"; then
      "$KUBECTL" apply --server-side --force-conflicts -f "$file" >/dev/null
      "$KUBECTL" label --overwrite "$kind" "$MADE_BY" >/dev/null
    fi
  done
}

# remove_kinds: those that run has made, unless somebody has come to use them, for with a
# kind all its objects go.
remove_kinds() {
  local ours users
  ours=$("$KUBECTL" get customresourcedefinitions -l "$MADE_BY" -o 'jsonpath={.items[*].metadata.name}')
  [ -n "$ours" ] || return 0
  users=$("$KUBECTL" get deployments -A -l app.kubernetes.io/name=elastichub,app.kubernetes.io/component=service -o name)
  users+=$("$KUBECTL" get "${ours// /,}" -A -o name)
  if [ -n "$users" ]; then
    echo "the kinds stay, since others of this cluster use them"
    return
  fi
  # shellcheck disable=SC2086
  "$KUBECTL" delete customresourcedefinition $ours >/dev/null
}
