package gateway

import (
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/languages"
)

// maxLogo bounds a kernelspec's own logo, in bytes, as its schema does.
const maxLogo = 64 << 10

// logo is a picture for a launcher.
type logo struct {
	// key is what Jupyter calls it, file the name it is fetched by.
	key, file   string
	contentType string
	content     []byte
}

// logoOf is a kernelspec's own logo, or one made of its language's name. A logo
// that cannot be read, which the schema lets through only if its base64 is
// broken, is left out: a listed file that is not there is a failure to clients.
func logoOf(ks *v1alpha1.JupyterKernelSpec) (logo, bool) {
	if ks.Spec.Logo == "" {
		return logo{key: "logo-svg", file: "logo-svg.svg", contentType: "image/svg+xml", content: badge(language(ks))}, true
	}
	kind, text, ok := strings.Cut(strings.TrimPrefix(ks.Spec.Logo, "data:"), ";base64,")
	if !ok || len(text) > base64.StdEncoding.EncodedLen(maxLogo) {
		return logo{}, false
	}
	content, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(content) == 0 || len(content) > maxLogo {
		return logo{}, false
	}
	switch kind {
	case "image/svg+xml":
		return logo{key: "logo-svg", file: "logo-svg.svg", contentType: kind, content: content}, true
	case "image/png":
		return logo{key: "logo-64x64", file: "logo-64x64.png", contentType: kind, content: content}, true
	}
	return logo{}, false
}

// resourcesOf lists the files of a kernelspec by what Jupyter calls them.
func resourcesOf(ks *v1alpha1.JupyterKernelSpec) map[string]string {
	l, ok := logoOf(ks)
	if !ok {
		return map[string]string{}
	}
	return map[string]string{l.key: "/kernelspecs/" + url.PathEscape(ks.Name) + "/" + l.file}
}

// badge draws a language's first letters on a ground of its own colour. Nothing
// of the name goes into the picture but letters and digits.
func badge(language string) []byte {
	b := languages.Of(language).Badge
	if b.Letters == "" {
		b.Letters = letters(language)
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(language)) // never fails
		b.Colour = fmt.Sprintf("hsl(%d,35%%,42%%)", sum.Sum32()%360)
	}
	size := 32
	if len(b.Letters) > 2 {
		size = 22
	}
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64" viewBox="0 0 64 64">`+
		`<rect width="64" height="64" rx="10" fill="%s"/>`+
		`<text x="32" y="33" fill="#fff" font-family="Helvetica,Arial,sans-serif" font-size="%d" font-weight="600" text-anchor="middle" dominant-baseline="central">%s</text></svg>`,
		b.Colour, size, b.Letters)
}

// letters are the first two letters or digits of a name.
func letters(name string) string {
	var kept []rune
	for _, r := range name {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) && len(kept) < 2 {
			kept = append(kept, r)
		}
	}
	if len(kept) == 0 {
		return "?"
	}
	kept[0] = unicode.ToUpper(kept[0])
	return string(kept)
}

// specFile serves the files that a kernelspec lists, to those who may start it.
func (s *Server) specFile(w http.ResponseWriter, c *call) error {
	cat, err := readCatalogue(c.Context(), s.cache, s.cfg, c.id)
	if err != nil {
		return err
	}
	ks, err := cat.find(c.PathValue("name"))
	if err != nil {
		return failBecause(kindNotFound, "There is no such kernelspec.", err)
	}
	l, ok := logoOf(ks)
	if !ok || c.PathValue("file") != l.file {
		return fail(kindNotFound, "There is no such file.")
	}
	h := w.Header()
	h.Set("Content-Type", l.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, max-age=300")
	// a picture that is opened by itself is a document: it runs nothing
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(l.content) // the client went away
	return nil
}
