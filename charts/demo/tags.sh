# Sourced by images.sh and tools.sh: the demo's images and their tags. Needs no cluster.
# shellcheck shell=bash disable=SC2034
: "${ELASTICHUB_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=$ELASTICHUB_CACHE/bin

IMAGES="service notebook kernel hub directory"

# image NAME: the image with the tag that its sources have now.
image() {
  local sources=(images/"$1")
  case $1 in
    service) sources+=(dist) ;;
    hub | notebook) sources+=(python/pyproject.toml python/README.md python/elastichub python/labextension) ;;
  esac
  printf 'localhost/elastichub/%s:%s\n' "$1" "$(
    cd "$ROOT" && find "${sources[@]}" -type f -not -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12
  )"
}
