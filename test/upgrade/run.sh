#!/usr/bin/env bash
# run.sh [images]: the release before this one in a namespace of its own, beside the demo that `make run` started:
# built from its archive, installed as the demo is, upgraded to this tree and rolled back; or its
# images alone, which need minutes once. The kinds of the cluster are the former's meanwhile.
# UPGRADE_NOTEBOOKS is how many notebooks there are (3; 50 before a release).
set -euo pipefail
cd "$(dirname "$0")/../.."

eval "$(charts/demo/env.sh)"
: "${ELASTICHUB_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}"
export ELASTICHUB_CACHE CGO_ENABLED=0 GOFLAGS=-trimpath
demo=$ELASTICHUB_DEMO_NAMESPACE namespace=upgrade former=0.1.0
archive=test/upgrade/elastichub-$former.tar.xz
tree=$ELASTICHUB_CACHE/former/$(sha256sum "$archive" | cut -c1-16)/elastichub-$former
root=$PWD work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
there() { "$KUBECTL" -n "$namespace" "$@"; }
step() { echo "upgrade: $* ($SECONDS s)"; }

if [ ! -d "$tree" ]; then
  mkdir -p "$(dirname "$tree")"
  tar -xJf "$archive" -C "$work"
  mv "$work/elastichub-$former" "$tree"
fi
if [ ! -x "$tree/dist/elastichub" ]; then
  (cd "$tree" && "$root/test/gobuild.sh" -ldflags "-s -w -X main.version=$former" -o dist/elastichub ./cmd/elastichub)
fi
"$tree/charts/demo/images.sh" build
"$tree/charts/demo/images.sh" load
step "the images of $former"
[ "${1:-}" != images ] || exit 0

# shellcheck disable=SC2329 # by the trap below
finish() {
  status=$?
  [ $status -eq 0 ] || there get pods,jupyternotebooks,jupyterkernels || true
  # While there is who ends what they lent.
  there delete jupyternotebooks,jupyterkernels --all --timeout=120s >/dev/null || true
  for release in demo elastichub; do
    helm uninstall "$release" --namespace "$namespace" --ignore-not-found --wait --timeout=120s >/dev/null || true
  done
  "$KUBECTL" delete namespace "$namespace" --ignore-not-found --timeout=180s >/dev/null || true
  # The demo's kinds are those of this tree.
  dist/elastichub crds apply >/dev/null || true
  rm -rf "$work"
  exit $status
}
trap finish EXIT
image_of_former() { (. "$tree/charts/demo/tags.sh" && image "$1"); }
image_of_demo() { "$KUBECTL" -n "$demo" get "$1" "$2" -o "jsonpath={.spec$3}"; }

# values FILE SERVICE NOTEBOOK KERNEL: as the demo's install.sh gives the images. Nobody is idle for long enough here.
values() {
  cat >"$1" <<EOF
image: {name: "${2%:*}", tag: "${2##*:}"}
replicas: 2
notebooks: {image: "$3"}
kernels: {image: "$4", idleTimeoutSeconds: 900, keep: {idleSeconds: 900}}
EOF
}
former_service=$(image_of_former service) former_notebook=$(image_of_former notebook) former_kernel=$(image_of_former kernel)
values "$work/former.yaml" "$former_service" "$former_notebook" "$former_kernel"
values "$work/values.yaml" "$(image_of_demo deployment elastichub '.template.spec.containers[0].image')" \
  "$(image_of_demo grouppolicy ml-research '.images[0].image')" "$(image_of_demo jupyterkernelspec python-cpu .image)"

# A run that was ended from outside may have left something.
"$KUBECTL" delete namespace "$namespace" --ignore-not-found --timeout=180s >/dev/null
"$KUBECTL" create namespace "$namespace" >/dev/null
there label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
# Replaced and not applied: what this tree has beyond them is to be gone.
"$KUBECTL" replace -f "$tree/charts/elastichub/crds" >/dev/null
helm install elastichub "$tree/charts/elastichub" --namespace "$namespace" \
  -f "$tree/charts/demo/elastichub-values.yaml" -f "$work/former.yaml" >/dev/null
helm install demo "$tree/charts/demo" --namespace "$namespace" --set serviceType=ClusterIP --set kernelIdleSeconds=900 --set warmKernels=1 \
  --set images.notebook="$former_notebook" --set images.kernel="$former_kernel" \
  --set images.hub="$(image_of_former hub)" --set images.directory="$(image_of_former directory)" >/dev/null
for deployment in directory elastichub hub proxy; do
  there rollout status "deployment/$deployment" --timeout=180s >/dev/null
done
for _ in $(seq 120); do
  [ -z "$(there get deployment default --ignore-not-found -o name)" ] || break
  sleep 0.5
done
there rollout status deployment/default --timeout=180s >/dev/null
# Twenty of them, and what the Hub starts, have room on two processors.
there patch jupyterkernelspec python-cpu --type=merge --patch '{"spec":{"resources":{"requests":{"cpu":"10m"}}}}' >/dev/null
step "$former runs"

address() { there get service "$1" -o 'jsonpath=http://{.spec.clusterIP}:{.spec.ports[0].port}'; }
secret() { there get secret "$1" -o "jsonpath={.data.$2}" | base64 -d; }
export ELASTICHUB_DEMO_NAMESPACE=$namespace UPGRADE_FORMER=$former UPGRADE_FORMER_IMAGE=$former_service \
  UPGRADE_FORMER_NOTEBOOK=$former_notebook UPGRADE_VALUES=$work/values.yaml UPGRADE_FORMER_KINDS=$tree/charts/elastichub/crds UPGRADE_NOTEBOOKS=${UPGRADE_NOTEBOOKS:-3}
HUB_URL=$(address proxy-public) GATEWAY_URL=$(address gateway-public)
HUB_API_TOKEN=$(secret hub api-token) GATEWAY_TOKEN=$(secret gateway-client token)
export HUB_URL GATEWAY_URL HUB_API_TOKEN GATEWAY_TOKEN
for _ in $(seq 240); do
  curl -fsS -o /dev/null "$HUB_URL/hub/login" 2>/dev/null && break
  sleep 0.25
done
GOTEST_FORMAT=standard-verbose test/gotest.sh ./test/upgrade -tags e2e -count=1 -timeout 40m
step "upgraded and rolled back"
