package forms

import (
	"math"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/groups"
)

// Requests are what the notebook's container requests for limits o: cpu is
// the limit times its ratio, rounded to hundredths of a core as Custom
// KubeSpawner does (round(limit/3, 2)); memory is rounded to whole bytes.
// Neither exceeds its limit.
func Requests(a groups.Allowance, o Options) (cpuRequest, memoryRequest resource.Quantity) {
	limit := o.CPU.MilliValue()
	milli := int64(math.Round(float64(limit)*a.CPU.RequestRatio/10)) * 10
	bytes := int64(math.Round(float64(o.Memory.Value()) * a.Memory.RequestRatio))
	return *resource.NewMilliQuantity(min(milli, limit), resource.DecimalSI),
		*resource.NewQuantity(min(bytes, o.Memory.Value()), resource.BinarySI)
}
