#!/usr/bin/env bash
# Go tests of both modules, against a real API server, slapd, Active Directory
# domain controller, OpenID provider, and kernels of Python, R and Bash. Arguments go to go test.
set -euo pipefail
cd "$(dirname "$0")/.."

# Directories: OpenLDAP, and Samba as Active Directory.
test/packages.sh slapd ldap-utils samba samba-ad-provision samba-dsdb-modules
# A kernel of R, which knows only the signal to interrupt, and whose state is kept.
test/packages.sh r-base-core r-cran-irkernel
# Tests run a real OpenID provider in Node; any from 18 on will do.
{ command -v node && command -v npm; } >/dev/null || test/packages.sh nodejs npm
KUBEBUILDER_ASSETS=$("${ELASTICHUB_CACHE:?run this through make}/bin/localcluster" assets | tail -n 1)
export KUBEBUILDER_ASSETS

# Never from the cache: real parts and the layout of the tree are no inputs that go knows.
# Twice as many packages at once as there are cores: the longest wait for kernels and API servers.
test/gotest.sh ./... -p $((2 * $(nproc))) -count=1 -timeout 15m "$@"
(cd localcluster && ../test/gotest.sh ./... -count=1 -timeout 5m "$@")
