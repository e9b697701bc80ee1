package hubapi_test

import (
	"testing"

	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/test/schemathesis"
)

func TestSchemathesis(t *testing.T) {
	schemathesis.Run(t, hubapi.OpenAPI, newHarness(t).api, token)
}
