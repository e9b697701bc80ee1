package mirror

import "fmt"

// Values are those of both charts that take their images from the registry.
func Values(registry string) string {
	return fmt.Sprintf(`# Values of the charts elastichub and elastichub-demo. What image.name, notebooks.image and kernels.image
# name goes before image.registry. Images that policies, gateways, notebooks and kernelspecs name are
# left as they are: mirror them, too, and name them so, or give notebooks.imageMap and kernels.imageMap.
image:
  registry: %q
`, registry)
}
