package portal

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/portal/holdings"
)

const (
	fieldCSRF = "csrf"
	// Bounds of what is asked for: of a query in bytes, of all else in characters, as the
	// OpenAPI document counts them.
	maxQuery = 32 << 10
	maxValue = 256
	maxPlace = 4096
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
		var sent *wish // nil for null, which is no object
		if err = r.readJSON(&sent); err == nil && sent == nil {
			err = &malformed{"The body is not the JSON object that this route takes."}
		}
		if sent != nil {
			w = *sent
		}
	} else {
		w.Reason, w.Force = r.PostForm.Get("reason"), r.PostForm.Get("force") == "true"
	}
	if err != nil {
		return wish{}, err
	}
	if w.Reason, err = readableReason(w.Reason); err != nil {
		return wish{}, err
	}
	return w, nil
}

// readableReason is what somebody wrote as one line.
func readableReason(text string) (string, error) {
	if utf8.RuneCountInString(text) > acts.MaxReason || !utf8.ValidString(text) {
		return "", &malformed{"The reason must be at most 500 characters of UTF-8."}
	}
	return acts.Line(text), nil
}

// readReturn reads what a kernel is to return as, as readWish does.
func (r *request) readReturn() (kernelSpec string, err error) {
	var sent *struct {
		KernelSpec *string `json:"kernelspec"`
	}
	if !r.isAPI() {
		kernelSpec = r.PostForm.Get("kernelspec")
	} else if err = r.readJSON(&sent); err == nil && sent != nil && sent.KernelSpec != nil {
		kernelSpec = *sent.KernelSpec
	}
	if err == nil && (kernelSpec == "" || utf8.RuneCountInString(kernelSpec) > maxValue || !utf8.ValidString(kernelSpec)) {
		err = &malformed{"The body names no kernelspec."}
	}
	return kernelSpec, err
}

// sendsJSON reports whether a request says that its body is JSON.
func (r *request) sendsJSON() bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

// readJSON decodes exactly one JSON object of known fields.
func (r *request) readJSON(into any) error {
	if !r.sendsJSON() {
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

var errNoParameter = &malformed{"There is no query parameter of that name."}

// query are the parameters, each of which may be there once, with as many characters as
// most says, or maxValue.
func (r *request) query(most map[string]int) (map[string]string, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, &malformed{"The query string is too long."}
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &malformed{"The query string is not encoded correctly."}
	}
	all := map[string]string{}
	for name, got := range values {
		if len(got) != 1 || utf8.RuneCountInString(got[0]) > cmp.Or(most[name], maxValue) || !utf8.ValidString(got[0]) {
			return nil, &malformed{"A query parameter is repeated, too long or not UTF-8."}
		}
		all[name] = got[0]
	}
	return all, nil
}

// listQuery reads what a list is asked for; names that are no parameters are refused.
func (r *request) listQuery() (holdings.Query, error) {
	q := holdings.Query{Limit: defaultRows}
	values, err := r.query(map[string]int{"after": maxPlace})
	if err != nil {
		return q, err
	}
	for name, value := range values {
		switch name {
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
		case "of_hub":
			if r.route.path != notebooksPath {
				return q, errNoParameter
			}
			if q.OfHub = new(value == "true"); !*q.OfHub && value != "false" {
				return q, &malformed{"The query parameter of_hub must be true or false."}
			}
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
				return q, errNoParameter
			}
		default:
			return q, errNoParameter
		}
	}
	return q, nil
}
