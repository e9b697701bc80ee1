#!/usr/bin/env bash
# What things cost, side by side with what else there is: docs/benchmarks.md
# says what each part measures. All parts, or those that are named:
#
#   make bench
#   make bench PART="roundtrip restart"
#   test/bench/run.sh throughput
#
# BENCH_PROFILES=<directory> has gateway and agents write CPU profiles there;
# BENCH_OBJECTS=<number> is another number of notebooks and kernels for objects than 1,000,
# FLEET_SERVERS=<number> one of servers for fleet than 2,000.
# Shared machines are noisy: medians and ratios, never a pass or fail.
set -euo pipefail
cd "$(dirname "$0")/../.."

alone_parts="micro park store economy"           # need nothing at all
local_parts="roundtrip throughput memory restart objects" # need nothing that runs
demo_parts="starts warm home replaced spawns fleet demo"         # need the demo: make run
read -ra wanted <<<"$* ${PART:-}"
[ ${#wanted[@]} -gt 0 ] || read -ra wanted <<<"$alone_parts $local_parts $demo_parts"
for part in "${wanted[@]}"; do
  [[ " $alone_parts $local_parts $demo_parts " == *" $part "* ]] || {
    echo "bench: no part $part; there are $alone_parts $local_parts $demo_parts" >&2
    exit 2
  }
done
want() { [[ " ${wanted[*]} " == *" $1 "* ]]; }

export ELASTICHUB_CACHE=${ELASTICHUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}
export CGO_ENABLED=0 GOFLAGS=-trimpath

# venv NAME REQUIREMENT...: the Python of an environment with the newest that
# there is; made anew once a week, so that it stays the newest.
venv() {
  echo "$(date +%G-%V | test/venv.sh "$@")/bin/python"
}

echo "# $(uname -sr), $(nproc) CPUs, $(go version | cut -d' ' -f3)"
echo "# load before the first measurement: $(cut -d' ' -f1-3 /proc/loadavg)"

if want micro; then
  go test -run '^$' -bench . -benchtime 200ms -count 3 ./kernels/wire ./forms ./web ./groups | grep -E '^(pkg|Benchmark)'
fi

if want park; then
  "$(venv bench-park cloudpickle dill ipykernel numpy pandas)" test/bench/park.py -results test/bench/results
fi

if want store; then
  go run ./test/bench/store
fi

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
go build -ldflags "-s -w -X main.version=bench" -o "$built/elastichub" ./cmd/elastichub
go build -o "$built/bench" ./test/bench
go build -ldflags "-s -w" -o "$built/kernel" ./test/bench/kernel
status=0 kernel_image=

if want economy; then
  "$built/bench" -source . -results test/bench/results economy || status=1
fi

measure() {
  "$built/bench" -source . -results test/bench/results -elastichub "$built/elastichub" -kernel "$built/kernel" \
    -python "$(venv bench 'ipykernel==7.*' 'pyzmq==27.*' 'jupyter_server==2.*')" \
    -eg-python "$(venv bench-eg jupyter_enterprise_gateway)" \
    ${kernel_image:+-kernel-image "$kernel_image"} \
    ${BENCH_OBJECTS:+-objects "$BENCH_OBJECTS"} \
    ${BENCH_PROFILES:+-profiles "$(realpath -m "$BENCH_PROFILES")"} "$@" || status=1
}

# load_kernel_image puts the synthetic kernel on the cluster.
load_kernel_image() {
  mkdir -p "$built/image/tmp"
  cp "$built/kernel" "$built/image/"
  kernel_image=localhost/elastichub/bench-kernel:$(sha256sum "$built/kernel" | cut -c1-12)
  "$ELASTICHUB_CACHE/bin/localcluster" build-image --tag "$kernel_image" --file test/bench/kernel/Dockerfile \
    --build-arg BASE=localhost/elastichub/static:1 "$built/image"
  "$ELASTICHUB_CACHE/bin/localcluster" load-image "$kernel_image"
}

selected=()
for part in $local_parts; do
  if want "$part"; then selected+=("$part"); fi
done
if [ ${#selected[@]} -gt 0 ]; then
  (cd localcluster && go build -o "$ELASTICHUB_CACHE/bin/localcluster" ./cmd/localcluster)
  KUBEBUILDER_ASSETS=$("$ELASTICHUB_CACHE/bin/localcluster" assets | tail -n 1)
  export KUBEBUILDER_ASSETS
  measure "${selected[@]}"
fi

selected=()
for part in $demo_parts; do
  if want "$part"; then selected+=("$part"); fi
done
if [ ${#selected[@]} -gt 0 ]; then
  if exports=$(charts/demo/env.sh 2>/dev/null); then
    eval "$exports"
    for part in "${selected[@]}"; do
      if [ "$part" = spawns ] || [ "$part" = fleet ]; then
        "test/hub/$part.sh" test/bench/results || status=1
      elif [ "$part" = demo ]; then
        test/e2e/modules.sh
        node test/e2e/figures.mjs || status=1
      else
        [ -n "$kernel_image" ] || load_kernel_image
        measure "$part"
      fi
    done
  else
    echo "# the demo does not run: ${selected[*]} left out; after make run they are measured too" >&2
  fi
fi

"$built/bench" -results test/bench/results -images docs/images -page docs/benchmarks.md || status=1
exit $status
