// Package support writes an archive of what a maintainer needs to see of an installation: what
// doctor says, the objects, their events, the logs and figures of service and gateways. No value
// of a Secret and no name of a user is in it: see Scrubber.
package support
