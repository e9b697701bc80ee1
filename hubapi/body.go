package hubapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/gin-gonic/gin"
)

// body decodes exactly one JSON value of known fields. What a class of a later release says
// besides is left out, and named in the log once: this service does without it.
func (a *API) body(c *gin.Context, into any) error {
	mediaType, _, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return errMediaType
	}
	if isNewer(c) {
		err = a.lenient(c, into)
	} else {
		err = decode(c.Request.Body, into, true)
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return errTooLarge
	case errors.Is(err, errTooManyBodies):
		c.Header("Connection", "close") // the rest is not read
		return err
	default:
		return &malformed{"The body is not the JSON object that this route takes."}
	}
}

func (a *API) lenient(c *gin.Context, into any) error {
	text, err := io.ReadAll(c.Request.Body)
	if err != nil {
		return err
	}
	unknown := decode(bytes.NewReader(text), into, true)
	if unknown == nil {
		return nil
	}
	if err := decode(bytes.NewReader(text), into, false); err != nil {
		return err
	}
	if a.ignored.isNews(unknown.Error()) {
		a.deps.Log.WarnContext(c.Request.Context(), "a newer ElasticSpawner says more than this service knows", "route", c.FullPath(), "ignored", unknown)
	}
	return nil
}

// decode reads one JSON value and what is after it, which is to be nothing.
func decode(from io.Reader, into any, strict bool) error {
	decoder := json.NewDecoder(from)
	if strict {
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(into); err != nil {
		return err
	}
	switch _, trailing := decoder.Token(); {
	case errors.Is(trailing, io.EOF):
		return nil
	case trailing != nil:
		return trailing
	}
	return errors.New("trailing data")
}
