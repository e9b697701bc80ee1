package elastichub

import "embed"

// CRDs are the files of crds/: the kinds, as the binary brings them up to date.
//
//go:embed crds/*.yaml
var CRDs embed.FS
