package elastichub

import "embed"

// CRDs are the files of crds/: the kinds, as the binary brings them up to date.
//
//go:embed crds/*.yaml
var CRDs embed.FS

// Values, Schema and Chart are values.yaml, values.schema.json and Chart.yaml.
var (
	//go:embed values.yaml
	Values []byte
	//go:embed values.schema.json
	Schema []byte
	//go:embed Chart.yaml
	Chart []byte
)
