package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// machines are the architectures of Go, as programs name them.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// compiledFor is the image with the program in place of its own. That must be all that its last
// layer has, and nothing below it may be a program: then no other file is of an architecture, and
// nothing had to be run to build the image.
func compiledFor(image v1.Image, architecture, program string) (v1.Image, error) {
	if err := isFor(program, architecture); err != nil {
		return nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) == 0 {
		return nil, errors.New("the image has no layer")
	}
	last := len(layers) - 1
	for _, below := range layers[:last] {
		if err := each(below, noProgram); err != nil {
			return nil, err
		}
	}
	own, err := programOf(layers[last])
	if err != nil {
		return nil, err
	}
	replaced, err := layerOf(own, program)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	same, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		append(layers[:last:last], replaced)...)
	if err != nil {
		return nil, err
	}
	described, err := same.ConfigFile()
	if err != nil {
		return nil, err
	}
	described = described.DeepCopy()
	described.Created, described.OS, described.Architecture, described.Config = config.Created, config.OS, architecture, config.Config
	return mutate.ConfigFile(same, described)
}

func isFor(program, architecture string) error {
	opened, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer opened.Close()
	if machine, known := machines[architecture]; !known || opened.Machine != machine {
		return fmt.Errorf("%s is a program for %s", program, opened.Machine)
	}
	return nil
}

// each calls for every file of a layer.
func each(layer v1.Layer, see func(*tar.Header, io.Reader) error) error {
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer content.Close()
	for files := tar.NewReader(content); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := see(header, files); err != nil {
			return err
		}
	}
}

func noProgram(header *tar.Header, content io.Reader) error {
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(content, magic); err == nil && bytes.Equal(magic, []byte(elf.ELFMAG)) {
		return fmt.Errorf("%s, below the image's own layer, is a program", header.Name)
	}
	return nil
}

// programOf is what the layer calls the one file that it has.
func programOf(layer v1.Layer) (*tar.Header, error) {
	var found []*tar.Header
	var names []string
	err := each(layer, func(header *tar.Header, _ io.Reader) error {
		found, names = append(found, header), append(names, header.Name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(found) != 1 || found[0].Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("the last layer has %s, and not one program", strings.Join(names, ", "))
	}
	return found[0], nil
}

func layerOf(own *tar.Header, program string) (v1.Layer, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	to := tar.NewWriter(&layer)
	header := *own
	header.Size = int64(len(content))
	if err := to.WriteHeader(&header); err != nil {
		return nil, err
	}
	if _, err := to.Write(content); err != nil {
		return nil, err
	}
	if err := to.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}
