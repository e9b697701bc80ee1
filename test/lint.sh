#!/usr/bin/env bash
# Formatting, vet and static analysis of both Go modules.
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
  echo "not gofmt-ed:" $unformatted >&2
  exit 1
fi
go vet ./...
go vet -tags e2e ./test/...
go tool staticcheck ./...
(cd localcluster && go vet ./...)
bash -n $(git ls-files '*.sh')
echo "lint: clean"
