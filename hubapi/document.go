package hubapi

import (
	_ "embed"
	"net/http"

	"github.com/gin-gonic/gin"
)

// OpenAPI is the contract, written by hand: OpenAPI 3.1 as YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte

func (a *API) document(c *gin.Context) error {
	c.Data(http.StatusOK, "application/yaml", OpenAPI)
	return nil
}
