#!/usr/bin/env bash
# Build the demo's images and load them into the local cluster. A tag is the
# hash of what the image is built from: what did not change is not rebuilt, and
# what did is rolled out.
set -euo pipefail
cd "$(dirname "$0")"
. ./tools.sh
cd ../..

for name in $IMAGES; do
  context=images/$name arguments=()
  case $name in
    service) context=dist arguments=(--build-arg BASE=localhost/elastichub/static:1) ;;
    hub | notebook) context=. ;;
  esac
  "$BIN/localcluster" build-image --tag "$(image "$name")" --file "images/$name/Dockerfile" "${arguments[@]}" "$context"
done
# shellcheck disable=SC2046
"$BIN/localcluster" load-image $(for name in $IMAGES; do image "$name"; done)
