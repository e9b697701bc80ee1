#!/usr/bin/env bash
# former.sh COMMIT VERSION: keep what of a release is needed to build its images, chart, wheel
# and CRDs, in elastichub-VERSION.tar.xz beside this. When a release is made, its tag takes the
# place of the commit.
set -euo pipefail
cd "$(dirname "$0")/../.."

git archive --prefix="elastichub-$2/" "$1" -- . \
  ':!.ci' ':!.github' ':!docs' ':!examples' ':!localcluster' ':!release' ':!test' ':!testdata' \
  ':!python/lab' ':!python/tests' ':!python/keep/tests' ':!*_test.go' ':!*/testdata/*' ':(exclude,glob)*.md' |
  xz --compress -9e >"test/upgrade/elastichub-$2.tar.xz"
ls -l "test/upgrade/elastichub-$2.tar.xz"
