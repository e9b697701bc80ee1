#!/usr/bin/env bash
# forward.sh start: have the demo's Services answer on this machine, at ports that are free
# and, once chosen, stay. forward.sh stop: end that. forward.sh alive: fail if it has ended.
# For a cluster that exists: the local one has ports of its node.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=charts/demo/tools.sh
. ./tools.sh

declare -A services=([hub]=proxy-public:80 [gateway]=gateway-public:8888 [directory]=directory:389)
# Where the search for a free port begins, away from the ports of nodes.
declare -A first=([hub]=18080 [gateway]=18888 [directory]=18389)

started() { # PID: when that process started, in ticks since the machine did
  sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

# running NAME: the process that forwards it; a number that has gone to another process is none.
running() {
  local pid at
  [ -f "$DEMO_STATE/forwards/$1" ] || return 1
  read -r pid at <"$DEMO_STATE/forwards/$1"
  [ "$(started "$pid")" = "$at" ] && echo "$pid"
}

free() { ! (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start_one() {
  local name=$1 service=${services[$1]%:*} target=${services[$1]#*:} port pid
  running "$name" >/dev/null && return
  port=${first[$name]}
  [ ! -f "$DEMO_STATE/ports/$name" ] || port=$(<"$DEMO_STATE/ports/$name")
  until free "$port"; do port=$((port + 1)); done
  # It ends with the Pod that it leads to, so that it is started again; not for ever, for the
  # cluster may be gone. The context is today's, whatever the kubeconfig says later.
  # shellcheck disable=SC2016
  setsid bash -c '
    failed=0
    while [ $failed -lt 60 ]; do
      began=$SECONDS
      "$@" || true
      if [ $((SECONDS - began)) -gt 10 ]; then failed=0; else failed=$((failed + 1)); fi
      sleep 1
    done' forward "$KUBECTL" --kubeconfig "$KUBECONFIG" --context "$("$KUBECTL" config current-context)" --namespace "$NAMESPACE" \
    port-forward --address 127.0.0.1 "service/$service" "$port:$target" </dev/null >>"$DEMO_STATE/forwards/$name.log" 2>&1 &
  pid=$!
  echo "$port" >"$DEMO_STATE/ports/$name"
  echo "$pid $(started "$pid")" >"$DEMO_STATE/forwards/$name"
}

start() {
  local name
  mkdir -p "$DEMO_STATE/ports" "$DEMO_STATE/forwards"
  for name in "${!services[@]}"; do start_one "$name"; done
}

stop() {
  local name pid
  for name in "${!services[@]}"; do
    if pid=$(running "$name"); then
      kill -- "-$pid"
    fi
  done
}

alive() {
  local name
  for name in "${!services[@]}"; do
    running "$name" >/dev/null || {
      echo "the demo is not forwarded to this machine now; make run with the same KUBECONFIG and NAMESPACE does it" >&2
      return 1
    }
  done
}

case ${1:-} in
  start | stop | alive) "$1" ;;
  *) echo "forward.sh takes start, stop or alive" >&2 && exit 2 ;;
esac
