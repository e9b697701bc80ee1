package tracing_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tracing"
)

func TestIDsThatAreHarmlessAreKept(t *testing.T) {
	t.Parallel()
	for given, kept := range map[string]bool{"abc-1.2_3": true, "a b": false, "": false, strings.Repeat("a", 65): false, "a\nlevel=ERROR": false} {
		id := tracing.RequestID(given)
		assert.Equal(t, kept, id == given, "%q", given)
		assert.NotEmpty(t, id)
	}
}

func TestAnObjectBringsTheIDToItsController(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	base := log.IntoContext(t.Context(), logr.FromSlogHandler(slog.NewJSONHandler(&lines, nil)))

	nb := &v1alpha1.JupyterNotebook{}
	tracing.Note(tracing.WithRequest(base, "r1"), nb)
	ctx := tracing.WithObject(base, nb)
	log.FromContext(ctx).Info("started")
	assert.Contains(t, lines.String(), `"request":"r1"`)
	assert.Equal(t, "r1", tracing.RequestOf(ctx))
	header := http.Header{}
	tracing.Send(ctx, header)
	assert.Equal(t, "r1", header.Get("X-Request-Id"))

	tracing.Note(base, nb) // started again, by nobody's request
	assert.Empty(t, nb.Annotations)

	nb.Annotations = map[string]string{v1alpha1.AnnotationRequest: "evil\nid"}
	assert.Empty(t, tracing.RequestOf(tracing.WithObject(base, nb)))
	tracing.Send(context.Background(), header)
}
