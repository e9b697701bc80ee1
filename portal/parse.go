package portal

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/elastichub/elastichub/portal/holdings"
)

const (
	fieldCSRF = "csrf"
	// Bounds of what is asked for, in bytes.
	maxQuery  = 4 << 10
	maxValue  = 1024
	maxReason = 500
	// rows of a page of a list.
	defaultRows = 50
	mostRows    = 500
)

// wish is what somebody says who asks for something to be done.
type wish struct {
	// Reason is for the person it is done to; only its owner may leave it out.
	Reason string `json:"reason"`
	// Force releases what is busy, too.
	Force bool `json:"force"`
}

// readWish reads it from JSON, or from a form that was read already.
func (r *request) readWish() (w wish, err error) {
	if r.isAPI() {
		err = r.readJSON(&w)
	} else {
		w.Reason, w.Force = r.PostForm.Get("reason"), r.PostForm.Get("force") == "true"
	}
	if err != nil {
		return wish{}, err
	}
	w.Reason = strings.TrimSpace(w.Reason)
	if len(w.Reason) > maxReason || !isLine(w.Reason) {
		return wish{}, &malformed{"The reason must be one line of at most 500 bytes."}
	}
	return w, nil
}

// isLine: people read it, in a terminal or a notebook, too.
func isLine(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) && c != ' ' })
}

// readJSON decodes exactly one JSON object of known fields.
func (r *request) readJSON(into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errMediaType
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, trailing := decoder.Token(); !errors.Is(trailing, io.EOF) {
			err = errors.Join(errors.New("trailing data"), trailing)
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return errTooLarge
	default:
		return &malformed{"The body is not the JSON object that this route takes."}
	}
}

// parseForm reads the fields of a form.
func (r *request) parseForm() error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return errMediaType
	}
	err := r.ParseForm()
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return errTooLarge
	default:
		return &malformed{"The form cannot be read."}
	}
}

// listQuery reads what a list is asked for; names that are no parameters are refused.
func (r *request) listQuery() (holdings.Query, error) {
	q := holdings.Query{Limit: defaultRows}
	if len(r.URL.RawQuery) > maxQuery {
		return q, &malformed{"The query string is too long."}
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, &malformed{"The query string is not encoded correctly."}
	}
	for name, got := range values {
		if len(got) != 1 || len(got[0]) > maxValue || !utf8.ValidString(got[0]) {
			return q, &malformed{"A query parameter is repeated, too long or not UTF-8."}
		}
		switch value := got[0]; name {
		case "q":
			q.Search = value
		case "phase":
			q.Phase = value
		case "user":
			q.User = value
		case "policy":
			q.Policy = value
		case "node":
			q.Node = value
		case "sort":
			q.Sort, q.Descending = strings.CutPrefix(value, "-")
		case "after":
			q.After = value
		case "limit":
			if q.Limit, err = strconv.Atoi(value); err != nil || q.Limit < 1 || q.Limit > mostRows {
				return q, &malformed{"The query parameter limit must be from 1 to 500."}
			}
		case "done": // of a page that tells of what was done
			if r.isAPI() {
				return q, &malformed{"There is no query parameter of that name."}
			}
		default:
			return q, &malformed{"There is no query parameter of that name."}
		}
	}
	return q, nil
}
