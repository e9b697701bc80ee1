package kernels

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/podspec"
)

func TestConfigValidate(t *testing.T) {
	assert.NoError(t, testConfig("ns").Validate())
	err := Config{Pods: podspec.Config{ImagePullPolicy: "Sometimes"}}.Validate()
	for _, path := range []string{"kernels.namespace", "kernels.image", "kernels.kernelImage", "kernels.imagePullPolicy", "kernels.tokens"} {
		assert.ErrorContains(t, err, path)
	}
}
