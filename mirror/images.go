package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	layoutDir = "images/"
	// refName is the annotation of an OCI layout that names an image.
	refName = "org.opencontainers.image.ref.name"
)

var imageName = regexp.MustCompile(`^elastichub/([a-z0-9-]+):([A-Za-z0-9_][A-Za-z0-9_.-]*)$`)

// Image is one image of a release, for one platform or several.
type Image struct {
	// Name is what the charts call it below their image.registry, such as service.
	Name   string
	Digest v1.Hash
	// Platforms are as linux/amd64.
	Platforms []string
	// Bytes are those of all its blobs, each counted once.
	Bytes int64

	content remote.Taggable
}

// blobs are those of the archive.
type blobs struct{ archive *Archive }

// findImages reads what the layout lists and looks for every blob that it needs.
func (a *Archive) findImages() error {
	text, err := a.text(layoutDir + "index.json")
	if err != nil {
		return err
	}
	listed, err := v1.ParseIndexManifest(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%sindex.json: %w", layoutDir, err)
	}
	for _, descriptor := range listed.Manifests {
		named := imageName.FindStringSubmatch(descriptor.Annotations[refName])
		if named == nil {
			return fmt.Errorf("%sindex.json: %q is no name of an image of elastichub", layoutDir, descriptor.Annotations[refName])
		}
		if a.Version != "" && a.Version != named[2] {
			return fmt.Errorf("%sindex.json: images of %s and of %s", layoutDir, a.Version, named[2])
		}
		a.Version = named[2]
		image := Image{Name: named[1], Digest: descriptor.Digest}
		seen := map[v1.Hash]bool{}
		if image.content, err = (blobs{a}).manifest(descriptor, &image, seen); err != nil {
			return fmt.Errorf("image %s: %w", image.Name, err)
		}
		a.Images = append(a.Images, image)
	}
	if len(a.Images) == 0 {
		return errors.New(layoutDir + "index.json names no image")
	}
	return nil
}

// manifest reads an image or an index with all that it names, and adds to what is known of the image.
func (b blobs) manifest(descriptor v1.Descriptor, of *Image, seen map[v1.Hash]bool) (remote.Taggable, error) {
	text, err := b.small(descriptor, of, seen)
	if err != nil {
		return nil, err
	}
	switch {
	case descriptor.MediaType.IsIndex():
		listed, err := v1.ParseIndexManifest(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", blobName(descriptor.Digest), err)
		}
		x := index{b, descriptor, text}
		for _, each := range listed.Manifests {
			if _, err := b.manifest(each, of, seen); err != nil {
				return nil, err
			}
		}
		return x, nil
	case descriptor.MediaType.IsImage():
		listed, err := v1.ParseManifest(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", blobName(descriptor.Digest), err)
		}
		text, err := b.small(listed.Config, of, seen)
		if err != nil {
			return nil, err
		}
		config, err := v1.ParseConfigFile(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", blobName(listed.Config.Digest), err)
		}
		of.Platforms = append(of.Platforms, config.Platform().String())
		for _, layer := range listed.Layers {
			if err := b.need(layer, of, seen); err != nil {
				return nil, err
			}
		}
		return b.image(descriptor)
	}
	return nil, fmt.Errorf("%s is a %q, and neither an image nor an index", blobName(descriptor.Digest), descriptor.MediaType)
}

func blobName(digest v1.Hash) string {
	return layoutDir + "blobs/" + digest.Algorithm + "/" + digest.Hex
}

// need fails unless the blob is there, by its digest and size.
func (b blobs) need(descriptor v1.Descriptor, of *Image, seen map[v1.Hash]bool) error {
	name := blobName(descriptor.Digest)
	found, there := b.archive.files[name]
	switch {
	case !there:
		return fmt.Errorf("%s is missing", name)
	case descriptor.Digest.Algorithm != "sha256" || found.sum != descriptor.Digest.Hex || found.size != descriptor.Size:
		return fmt.Errorf("%s has %d bytes of sha256:%s, and not %d of its name", name, found.size, found.sum, descriptor.Size)
	}
	if !seen[descriptor.Digest] {
		seen[descriptor.Digest] = true
		of.Bytes += found.size
	}
	return nil
}

// small is the content of a blob that is needed, and read into memory.
func (b blobs) small(descriptor v1.Descriptor, of *Image, seen map[v1.Hash]bool) ([]byte, error) {
	if err := b.need(descriptor, of, seen); err != nil {
		return nil, err
	}
	return b.archive.text(blobName(descriptor.Digest))
}

func (b blobs) image(descriptor v1.Descriptor) (v1.Image, error) {
	text, err := b.archive.text(blobName(descriptor.Digest))
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(manifest{b, descriptor, text})
}

// manifest is an image of the archive, as go-containerregistry wants it.
type manifest struct {
	blobs
	descriptor v1.Descriptor
	text       []byte
}

func (m manifest) MediaType() (types.MediaType, error) { return m.descriptor.MediaType, nil }
func (m manifest) RawManifest() ([]byte, error)        { return m.text, nil }

func (m manifest) RawConfigFile() ([]byte, error) {
	listed, err := partial.Manifest(m)
	if err != nil {
		return nil, err
	}
	return m.archive.text(blobName(listed.Config.Digest))
}

func (m manifest) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	listed, err := partial.Manifest(m)
	if err != nil {
		return nil, err
	}
	for _, each := range append(listed.Layers, listed.Config) {
		if each.Digest == digest {
			return blob{m.archive, each}, nil
		}
	}
	return nil, fmt.Errorf("the image has no blob %s", digest)
}

// blob is a layer or a configuration.
type blob struct {
	archive    *Archive
	descriptor v1.Descriptor
}

func (b blob) Digest() (v1.Hash, error)            { return b.descriptor.Digest, nil }
func (b blob) Size() (int64, error)                { return b.descriptor.Size, nil }
func (b blob) MediaType() (types.MediaType, error) { return b.descriptor.MediaType, nil }
func (b blob) Descriptor() (*v1.Descriptor, error) { return &b.descriptor, nil }
func (b blob) Compressed() (io.ReadCloser, error) {
	content, err := b.archive.open(blobName(b.descriptor.Digest))
	if err != nil {
		return nil, err
	}
	return io.NopCloser(content), nil
}

// index is an image of several platforms.
type index struct {
	blobs
	descriptor v1.Descriptor
	text       []byte
}

func (x index) MediaType() (types.MediaType, error) { return x.descriptor.MediaType, nil }
func (x index) Digest() (v1.Hash, error)            { return x.descriptor.Digest, nil }
func (x index) Size() (int64, error)                { return x.descriptor.Size, nil }
func (x index) RawManifest() ([]byte, error)        { return x.text, nil }
func (x index) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(x.text))
}

func (x index) Image(digest v1.Hash) (v1.Image, error) {
	descriptor, err := x.find(digest)
	if err != nil {
		return nil, err
	}
	return x.image(descriptor)
}

func (x index) ImageIndex(digest v1.Hash) (v1.ImageIndex, error) {
	descriptor, err := x.find(digest)
	if err != nil {
		return nil, err
	}
	text, err := x.archive.text(blobName(digest))
	return index{x.blobs, descriptor, text}, err
}

func (x index) find(digest v1.Hash) (v1.Descriptor, error) {
	listed, err := x.IndexManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, each := range listed.Manifests {
		if each.Digest == digest {
			return each, nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("the index has no manifest %s", digest)
}
