// Package upgrade has the release before this one run beside the demo, upgrades it to this tree
// while a cell prints and the Hub spawns, and rolls it back. `make upgrade-test` runs it (build
// tag e2e); former.sh makes the archive of the release before.
package upgrade
