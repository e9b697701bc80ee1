// Package mirror brings the images of a release to a registry.
//
// A release is one tar archive, which `make release` writes: a directory with the charts, the
// kinds, the wheel, the binaries, the bills of materials, SHA256SUMS over all of them, and
// below images/ an OCI image layout. Open reads all of it and finds every fault before
// anything is written anywhere; Push then sends what the registry has not.
package mirror
