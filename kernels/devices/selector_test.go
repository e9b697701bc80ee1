package devices

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"
)

func gpu() *device {
	return &device{driver: "gpu.example.com", Device: &resourcev1.Device{
		Name: "gpu-0",
		Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
			"type":                 {StringValue: ptr.To("gpu")},
			"cores":                {IntValue: ptr.To(int64(-3))},
			"mig":                  {BoolValue: ptr.To(true)},
			"driverVersion":        {VersionValue: ptr.To("1.2.3")},
			"other.example.com/of": {StringValue: ptr.To("x")},
		},
	}}
}

// TestSelectorsAreReadAsCELIs: the expected answers are those of CEL.
func TestSelectorsAreReadAsCELIs(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]answer{
		`device.driver == "gpu.example.com"`:                                                                          yes,
		`device.driver=='gpu.example.com'`:                                                                            yes,
		`device.driver != "gpu.example.com"`:                                                                          no,
		`device.driver == "x" || device.driver == "gpu.example.com"`:                                                  yes,
		"device.driver == 'gpu.example.com' &&\n  device.attributes['gpu.example.com'].type == 'gpu'":                 yes,
		`device.driver == "gpu.example.com" && device.attributes["gpu.example.com"].type == "mig"`:                    no,
		`device.attributes["gpu.example.com"]["type"] == "gpu"`:                                                       yes,
		`device.attributes["other.example.com"].of == "x"`:                                                            yes,
		`device.attributes["gpu.example.com"].cores == -3`:                                                            yes,
		`device.attributes["gpu.example.com"].cores != -3`:                                                            no,
		`device.attributes["gpu.example.com"].mig`:                                                                    yes,
		`device.attributes["gpu.example.com"].mig == false`:                                                           no,
		`device.driver == "x" || (device.driver == "y" || device.attributes["gpu.example.com"].mig)`:                  yes,
		`device.driver == "gpu.example.com" || device.driver == "y" && device.driver == "z"`:                          yes,
		`(device.driver == "gpu.example.com" || device.driver == "y") && device.driver == "z"`:                        no,
		`device.attributes["gpu.example.com"].none == "x"`:                                                            fault,
		`device.attributes["x.example.com"].type == "gpu"`:                                                            fault,
		`device.attributes["gpu.example.com"].type == 1`:                                                              fault,
		`device.attributes["gpu.example.com"].type != 1`:                                                              fault,
		`device.attributes["gpu.example.com"].driverVersion == "1.2.3"`:                                               fault,
		`device.attributes["gpu.example.com"].none == "x" && device.driver == "y"`:                                    no,
		`device.attributes["gpu.example.com"].none == "x" || device.driver == "gpu.example.com"`:                      yes,
		`device.attributes["gpu.example.com"].none == "x" && device.driver == "gpu.example.com"`:                      fault,
		`device.attributes["gpu.example.com"].type`:                                                                   fault,
		`device.driver == "gpu.example.com" && (device.driver == "y" || device.attributes["gpu.example.com"].x == 1)`: fault,
	} {
		s, err := parse(expression)
		require.NoError(t, err, expression)
		assert.Equal(t, want, s(gpu()), expression)
	}
}

func TestSelectorsThatAreNotReadAreSaid(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{
		``, ` `, `device`, `device.`, `device.driver ==`, `device.driver == device.driver`, `"a" == device.driver`, `driver == "x"`,
		`device.driver == "x" &&`, `device.driver == "x" device`, `(device.driver == "x"`, `device.driver == "x")`, `!(device.driver == "x")`,
		`device.driver == "x" & device.driver == "y"`, `device.driver == "a\"b"`, `device.driver == "a`, `device.driver == """a"""`,
		`device.driver == r"a"`, `device.driver in ["x"]`, `device.attributes["a"]`, `device.attributes[1].x == 1`, `device.attributes["a"].x == 1.5`,
		`device.attributes["a"].x < 1`, `device.attributes["a"].x == 0x1`, `device.attributes["a"].x == 1u`, `device.capacity["a"].memory == "1"`,
		`device.attributes["a"].?x.orValue("") == "y"`, `"a" in device.attributes`, `device.driver.startsWith("gpu")`, `true`, `has(device.driver)`,
		`device.driver == "x" // y`, `device.attributes["a"].a-b == "x"`, `device.driver == a-b`,
		`device.driver == true == true`,
	} {
		_, err := parse(expression)
		var unreadable *UnreadableError
		require.ErrorAs(t, err, &unreadable, expression)
		assert.Equal(t, expression, unreadable.Expression)
	}
}

// FuzzSelectors: whatever is written in a class, it is read or said.
func FuzzSelectors(f *testing.F) {
	f.Add(`device.driver == "gpu.example.com" && (device.attributes['a'].b != -1 || true)`)
	f.Fuzz(func(t *testing.T, expression string) {
		s, err := parse(expression)
		if err == nil {
			assert.Contains(t, []answer{no, yes, fault}, s(gpu()))
		} else {
			assert.Nil(t, s)
		}
	})
}
