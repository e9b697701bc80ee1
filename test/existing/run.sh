#!/usr/bin/env bash
# The demo on a cluster that exists, beside the one that `make run` started: the local cluster
# stands for it, by a copy of its kubeconfig, with another namespace and a registry of its own.
# A server through the Hub, a cell on a kernel, and nothing left at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."

eval "$(charts/demo/env.sh)"
demo=$ELASTICHUB_DEMO_NAMESPACE namespace=existing work=$(mktemp -d)
export ELASTICHUB_STATE=$work/state
fail() {
  echo "existing: $*" >&2
  exit 1
}
step() { echo "existing: $* ($SECONDS s)"; }

cp "$KUBECONFIG" "$work/kubeconfig"
given=(KUBECONFIG="$work/kubeconfig" NAMESPACE="$namespace")
unset KUBECONFIG
# Our make is not that of the target which runs us.
ours() { env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory "$@"; }
there() { "$KUBECTL" --kubeconfig "$work/kubeconfig" "$@"; }
registry=
# shellcheck disable=SC2329 # by the trap below
finish() {
  ours stop "${given[@]}" >/dev/null 2>&1 || true
  [ -z "$registry" ] || kill "$registry"
  rm -rf "$work"
}
trap finish EXIT

crane=$(test/tool.sh github.com/google/go-containerregistry/cmd/crane@v0.22.1)
mkdir "$work/blobs"
"$crane" registry serve --address 127.0.0.1:0 --disk "$work/blobs" >"$work/registry.log" 2>&1 &
registry=$!
for _ in $(seq 100); do
  port=$(sed -n 's/.*serving on port \([0-9]*\).*/\1/p' "$work/registry.log" | head -n 1)
  [ -n "$port" ] && break
  sleep 0.1
done
[ -n "$port" ] || fail "no registry: $(cat "$work/registry.log")"

# What is there before, without what changes by itself: all of the demo's objects by their
# identity and generation, and what lies outside of namespaces.
picture() {
  there -n "$demo" get deployments,services,configmaps,secrets,persistentvolumeclaims,grouppolicies,jupytergateways,jupyterkernelspecs \
    -o go-template='{{range .items}}{{.kind}} {{.metadata.name}} {{.metadata.uid}} {{.metadata.generation}}{{"\n"}}{{end}}' | sort
  there get namespaces,clusterroles,clusterrolebindings,customresourcedefinitions,validatingadmissionpolicies,validatingadmissionpolicybindings,storageclasses \
    -o go-template='{{range .items}}{{.kind}} {{.metadata.name}} {{.metadata.uid}} {{.metadata.generation}}{{"\n"}}{{end}}' |
    grep -vE '^[A-Za-z]+ (hubsuite|tamper|docs)' | sort
  sha256sum <"$work/kubeconfig"
}
picture >"$work/before"

# What is wrong is told before anything is built.
refused() {
  local says=$1
  shift
  if ours run "${given[@]}" "$@" >"$work/log" 2>&1; then fail "make run $* was not refused"; fi
  grep -qF "$says" "$work/log" || fail "make run $* does not say \"$says\": $(cat "$work/log")"
  ! grep -qE 'pushing|installing' "$work/log" || fail "make run $* went on: $(cat "$work/log")"
}
refused "REGISTRY is not given"
refused "the registry 127.0.0.1:1 does not answer" REGISTRY=127.0.0.1:1/demo
refused "a namespace $demo that make run has not made" REGISTRY="127.0.0.1:$port/demo" NAMESPACE="$demo"
if ours stop "${given[@]}" NAMESPACE="$demo" >"$work/log" 2>&1; then fail "make stop removes a namespace that is not its own"; fi
grep -qF "the namespace $demo was not made by make run" "$work/log" || fail "make stop: $(cat "$work/log")"
step "what is wrong is told"

for time in first second; do
  ours run "${given[@]}" REGISTRY="127.0.0.1:$port/demo" >"$work/$time" 2>&1 || fail "make run: $(cat "$work/$time")"
  step "make run, the $time time"
done
grep -F "pushing 127.0.0.1:$port/demo/notebook:" "$work/first" >/dev/null || fail "nothing was pushed: $(cat "$work/first")"
! grep -F "pushing" "$work/second" || fail "pushed what was there"
exports=$(ours env "${given[@]}")
for address in "$HUB_URL" "$GATEWAY_URL" "$LDAP_URL"; do
  ! grep -F "=$address" <<<"$exports" || fail "the address of the local demo: $address"
done
eval "$exports"
grep -F "$HUB_URL" "$work/second" >/dev/null || fail "make run does not print $HUB_URL"
images=$(there -n "$namespace" get pods -o 'jsonpath={.items[*].spec.containers[*].image}')
for image in $images; do
  [[ $image == "127.0.0.1:$port/demo/"*@sha256:* ]] || fail "an image that was not pulled from the registry: $image"
done

api() { curl -fsS -H "Authorization: token $HUB_API_TOKEN" -X "$1" "$HUB_URL/hub/api$2" "${@:3}"; }
api POST /users/analyst >/dev/null
token=$(api POST /users/analyst/tokens | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')
printf 'print(6 * 7)\n' >"$work/cell.py"
out=$(JUPYTERHUB_API_TOKEN=$token JUPYTERHUB_API_URL=$HUB_URL dist/elastichub run --start --kernel python-cpu "$work/cell.py")
[ "$out" = 42 ] || fail "the cell printed $out"
[ -n "$(there -n "$namespace" get jupyternotebooks -o name)" ] || fail "the server is elsewhere"
step "a server through the Hub, and a cell on a kernel"

ours stop "${given[@]}" >"$work/log" 2>&1 || fail "make stop: $(cat "$work/log")"
step "make stop"
volumes() { there get persistentvolumes -o 'jsonpath={.items[*].spec.claimRef.namespace}' | tr ' ' '\n' | grep -cx "$namespace" || true; }
for _ in $(seq 60); do
  [ "$(volumes)" != 0 ] || break
  sleep 1
done
[ "$(volumes)" = 0 ] || fail "volumes are left"
picture | diff "$work/before" - || fail "the cluster is not what it was"
! curl -fsS -o /dev/null "$HUB_URL" 2>/dev/null || fail "$HUB_URL answers still"
[ ! -e "$ELASTICHUB_STATE/existing" ] || [ -z "$(ls -A "$ELASTICHUB_STATE/existing")" ] || fail "files are left"
ours stop "${given[@]}" >"$work/log" 2>&1 || fail "make stop, once more: $(cat "$work/log")"
step "nothing is left"
