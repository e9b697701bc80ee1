package portal

import (
	"context"

	"github.com/elastichub/elastichub/prepull/imagestate"
	"github.com/elastichub/elastichub/web"
)

// ImageLister tells how far the images are that should be on nodes before anybody needs
// them; nil: none are pulled beforehand.
type ImageLister func(context.Context) ([]imagestate.Image, error)

// imageList is the answer of the API; Enabled tells no images from none that are wanted.
type imageList struct {
	Enabled bool               `json:"enabled"`
	Items   []imagestate.Image `json:"items"`
}

func (p *Portal) listImages(ctx context.Context) (imageList, error) {
	list := imageList{Enabled: p.deps.Images != nil, Items: []imagestate.Image{}}
	if !list.Enabled {
		return list, nil
	}
	all, err := p.deps.Images(ctx)
	if err != nil {
		return imageList{}, err
	}
	list.Items = append(list.Items, all...)
	return list, nil
}

func (p *Portal) images(r *request) error {
	list, err := p.listImages(r.Context())
	if err != nil {
		return err
	}
	return r.json(list)
}

// imagesOnPage are those of the cluster's page, which says so where they are not known.
func (p *Portal) imagesOnPage(r *request) web.Images {
	list, err := p.listImages(r.Context())
	if err != nil {
		p.deps.Log.WarnContext(r.Context(), "page without images", "request", r.id, "error", err)
	}
	return web.Images{Wanted: p.deps.Images != nil, Known: err == nil, All: list.Items}
}
