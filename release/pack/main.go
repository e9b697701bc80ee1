// Command pack puts an image into the OCI image layout of a release: the image of another layout, and
// the same for other architectures, with programs that were compiled for them.
//
//	pack LAYOUT NAME FROM [ARCHITECTURE=PROGRAM]...
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// refName is the annotation of an OCI layout that names an image.
const refName = "org.opencontainers.image.ref.name"

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "pack: want LAYOUT NAME FROM [ARCHITECTURE=PROGRAM]...")
		os.Exit(2)
	}
	if err := pack(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintf(os.Stderr, "pack: %s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
}

func pack(directory, name, from string, others []string) error {
	image, err := only(from)
	if err != nil {
		return err
	}
	to, err := layout.FromPath(directory)
	if errors.Is(err, fs.ErrNotExist) {
		to, err = layout.Write(directory, empty.Index)
	}
	if err != nil {
		return err
	}
	named := layout.WithAnnotations(map[string]string{refName: name})
	if len(others) == 0 {
		return to.AppendImage(image, named)
	}
	all, err := withPlatform(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), image)
	if err != nil {
		return err
	}
	for _, other := range others {
		architecture, program, _ := strings.Cut(other, "=")
		same, err := compiledFor(image, architecture, program)
		if err != nil {
			return fmt.Errorf("for %s: %w", architecture, err)
		}
		if all, err = withPlatform(all, same); err != nil {
			return err
		}
	}
	return to.AppendIndex(all, named)
}

// only is the one image of a layout.
func only(directory string) (v1.Image, error) {
	from, err := layout.FromPath(directory)
	if err != nil {
		return nil, err
	}
	index, err := from.ImageIndex()
	if err != nil {
		return nil, err
	}
	listed, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(listed.Manifests) != 1 || !listed.Manifests[0].MediaType.IsImage() {
		return nil, fmt.Errorf("%s has not one image", directory)
	}
	return from.Image(listed.Manifests[0].Digest)
}

func withPlatform(index v1.ImageIndex, image v1.Image) (v1.ImageIndex, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	return mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: config.Platform()}}), nil
}
