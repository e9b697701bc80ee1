package hubapi

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/elastichub/elastichub/tracing"
)

// untraced are routes that are asked all the time, or for as long as a start takes.
var untraced = []string{Prefix + routeServers, Prefix + routeEvents, Prefix + routeOpenAPI, routeHealth, routeReady, ""}

// traced records what is asked for users. What it says of a request is in the log, too.
func traced(tracer *tracing.Tracer) gin.HandlerFunc {
	return func(c *gin.Context) {
		route := c.FullPath()
		if tracer == nil || slices.Contains(untraced, route) {
			return
		}
		ctx, span := tracer.Serve(c.Request.Context(), c.Request.Header, method(c.Request.Method)+" "+route)
		defer span.End()
		span.Set("url.path", logged(c.Request.URL.EscapedPath()))
		c.Request = c.Request.WithContext(ctx)
		c.Next()
		span.Set("http.response.status_code", strconv.Itoa(c.Writer.Status()))
		if last := c.Errors.Last(); last != nil {
			span.Fail(kindOf(last.Err))
		}
	}
}

// kindOf is the word for an error, which holds nothing of what was sent.
func kindOf(err error) string {
	p, _ := describe(err)
	return strings.TrimPrefix(p.Type, problemType)
}
