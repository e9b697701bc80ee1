#!/usr/bin/env bash
# Formatting and static analysis of Go, Python, shell, the charts and the JupyterLab
# plugin, whose built files have to be what its sources give. Nothing is left out
# but what .golangci.yaml, .ruff.toml and python/pyproject.toml name.
# lint.sh PART...: these alone, of go, python, shell, lab and charts.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${ELASTICHUB_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/elastichub}"
export ELASTICHUB_CACHE

lint_go() {
  local unformatted golangci
  unformatted=$(git ls-files -z '*.go' | xargs -0 gofmt -l)
  if [ -n "$unformatted" ]; then
    echo "not gofmt-ed: $unformatted" >&2
    return 1
  fi
  golangci=$(test/tool.sh github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0)
  export GOLANGCI_LINT_CACHE=$ELASTICHUB_CACHE/golangci-lint
  # No file leaves when a tag is given, so with the tag every file is looked at.
  "$golangci" run --allow-serial-runners --build-tags e2e,networks,nodes ./...
  (cd localcluster && "$golangci" run --allow-serial-runners --config ../.golangci.yaml --build-tags smoke ./...)
  (cd test/panels && "$golangci" run --allow-serial-runners --config ../../.golangci.yaml --build-tags e2e ./...)
  # The tag of components.go is not given: programs cannot be imported.
  (cd localcluster/components && "$golangci" run --allow-serial-runners --config ../../.golangci.yaml ./...)
}

tools() {
  local pinned
  mapfile -t pinned <test/lint/requirements.txt
  test/venv.sh lint "${pinned[@]}" </dev/null
}

lint_python() {
  local bin types
  bin=$(tools)/bin
  "$bin/ruff" check --quiet --cache-dir "$ELASTICHUB_CACHE/ruff" .
  # What is imported is in the environment of the tests.
  types=$(python/venv.sh 'jupyterhub>=5,<6')/bin/python
  (cd python && "$bin/mypy" --no-error-summary --python-executable "$types" --cache-dir "$ELASTICHUB_CACHE/mypy")
}

lint_shell() {
  local bin
  bin=$(tools)/bin
  git ls-files -z '*.sh' .ci/run | xargs -0 "$bin/shellcheck" --external-sources --source-path=SCRIPTDIR
}

lint_lab() {
  local built
  built=$(mktemp -d)
  python/lab/build.sh "$built/labextension"
  if ! diff -r python/labextension "$built/labextension" >&2; then
    echo "python/labextension is out of date: commit what python/lab/build.sh writes" >&2
    return 1
  fi
  rm -r "$built"
}

lint_charts() {
  local assets
  assets=$("$ELASTICHUB_CACHE/bin/localcluster" assets | tail -n 1)
  "$assets/helm" lint --quiet charts/elastichub --values charts/elastichub/testdata/smallest.yaml
  "$assets/helm" lint --quiet charts/demo
}

[ $# -gt 0 ] || set -- shell python lab go charts
for part; do
  began=$SECONDS
  "lint_$part"
  echo "lint: $part is clean, $((SECONDS - began)) s"
done
