package web

import (
	_ "embed"
	"io"

	"context"

	"github.com/a-h/templ"
)

// The form's style and script stand inside the fragment: the Hub's page has
// no place to link them from.
var (
	//go:embed spawnform.css
	spawnFormCSS string
	//go:embed spawnform.js
	spawnFormJS string
)

// inline writes a constant element of our own; nothing in it comes from outside.
func inline(element, text string) templ.Component {
	whole := "<" + element + ">" + text + "</" + element + ">"
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, whole)
		return err
	})
}

var (
	spawnFormStyle  = inline("style", spawnFormCSS)
	spawnFormScript = inline("script", spawnFormJS)
)
