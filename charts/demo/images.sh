#!/usr/bin/env bash
# images.sh build: build the demo's images. images.sh load: load them into the
# local cluster. images.sh push: push them to $DEMO_REGISTRY for a cluster that
# exists. A tag is the hash of what the image is built from: what did not
# change is not rebuilt, and what did is rolled out.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=charts/demo/tags.sh
. charts/demo/tags.sh

build() {
  local name context arguments
  for name in $IMAGES; do
    context=images/$name arguments=()
    case $name in
      service) context=dist arguments=(--build-arg BASE=localhost/elastichub/static:1) ;;
      hub | notebook) context=. ;;
    esac
    "$BIN/localcluster" build-image --tag "$(image "$name")" --file "images/$name/Dockerfile" "${arguments[@]}" "$context"
  done
}

load() {
  # shellcheck disable=SC2046
  "$BIN/localcluster" load-image $(for name in $IMAGES; do image "$name"; done)
}

push() {
  local name built pushed
  # shellcheck source=charts/demo/tools.sh
  . charts/demo/tools.sh
  mkdir -p "$DEMO_STATE/images"
  for name in $IMAGES; do
    built=$(image "$name")
    pushed=$("$BIN/localcluster" push-image --to "${DEMO_REGISTRY:?}/$name:${built##*:}" "$built")
    echo "$pushed" >"$DEMO_STATE/images/$name"
  done
}

case ${1:-} in
  build | load | push) "$1" ;;
  *) echo "images.sh takes build, load or push" >&2 && exit 2 ;;
esac
