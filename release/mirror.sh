# Sourced by tests: the commands of docs/air-gap.md that bring a release to a registry, and such a registry.
# shellcheck shell=bash disable=SC2034

# start_registry DIRECTORY: a registry at a free port of loopback; sets crane, port, and registry, its process.
start_registry() {
  crane=$(test/tool.sh github.com/google/go-containerregistry/cmd/crane@v0.22.1)
  mkdir "$1"
  "$crane" registry serve --address 127.0.0.1:0 --disk "$1" >"$1.log" 2>&1 &
  registry=$!
  for _ in $(seq 100); do
    port=$(sed -n 's/.*serving on port \([0-9]*\).*/\1/p' "$1.log" | head -n 1)
    [ -z "$port" ] || return 0
    sleep 0.1
  done
  echo "no registry: $(cat "$1.log")" >&2
  return 1
}

# commands WORD: the block of the page whose commands have the word.
commands() {
  awk -v word="$1" '
    /^```sh$/ { inside = 1; block = ""; next }
    /^```$/ { if (inside && index(block, word)) printf "%s", block; inside = 0; next }
    inside { block = block $0 "\n" }' docs/air-gap.md
}

# mirror_release ARCHIVE REGISTRY: type the page's block beside the archive, and print where it was unpacked to.
# HOME is a directory of its own, which then has the binary.
mirror_release() {
  local version typed
  version=$(basename "$1" .tar)
  version=${version#elastichub-}
  typed=$(commands "elastichub mirror" | sed -e "s|registry.example.org/elastichub|$2|" -e "s|^VERSION=.*|VERSION=$version|" -e "s|linux-amd64|linux-$(go env GOHOSTARCH)|")
  grep -qF "mirror $2 " <<<"$typed" || { echo "docs/air-gap.md does not mirror to registry.example.org/elastichub" >&2; return 1; }
  (cd "$(dirname "$1")" && PATH=$HOME/.local/bin:$PATH bash -euo pipefail -c "$typed") >&2
  echo "$(dirname "$1")/elastichub-$version"
}
