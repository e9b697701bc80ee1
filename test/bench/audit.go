package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// audit is what an API server has noted of requests.
type audit struct{ path string }

// auditPolicy notes every request once, without what was sent.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata}]
`

// newAudit has an API server note its requests in a directory; set is told its flags.
func newAudit(dir string, set func(flag, value string)) (*audit, error) {
	policy := filepath.Join(dir, "audit.yaml")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(policy, []byte(auditPolicy), 0o600)); err != nil {
		return nil, err
	}
	a := &audit{path: filepath.Join(dir, "audit.log")}
	for flag, value := range map[string]string{
		"audit-policy-file": policy, "audit-log-path": a.path, "audit-log-format": "json", "audit-log-maxsize": "2000",
	} {
		set(flag, value)
	}
	return a, nil
}

// end is where the notes end now.
func (a *audit) end() (int64, error) {
	info, err := os.Stat(a.path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// asked is how many requests of one kind there were.
type asked struct {
	Verb     string  `json:"verb"`
	Resource string  `json:"resource"` // with its subresource
	Count    float64 `json:"count"`
}

// since counts the requests of a program that were answered since the notes ended there. A
// watch is answered when it ends.
func (a *audit) since(end int64, program string) ([]asked, error) {
	file, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(end, io.SeekStart); err != nil {
		return nil, err
	}
	counts := map[asked]float64{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var note struct {
			Verb      string `json:"verb"`
			UserAgent string `json:"userAgent"`
			ObjectRef struct {
				Resource    string `json:"resource"`
				Subresource string `json:"subresource"`
			} `json:"objectRef"`
		}
		if err := json.Unmarshal(lines.Bytes(), &note); err != nil {
			return nil, fmt.Errorf("%s: %w", a.path, err)
		}
		if !strings.HasPrefix(note.UserAgent, program+"/") {
			continue
		}
		resource := note.ObjectRef.Resource
		if note.ObjectRef.Subresource != "" {
			resource += "/" + note.ObjectRef.Subresource
		}
		counts[asked{Verb: note.Verb, Resource: resource}]++
	}
	var all []asked
	for kind, n := range counts {
		kind.Count = n
		all = append(all, kind)
	}
	slices.SortFunc(all, func(a, b asked) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Verb, b.Verb))
	})
	return all, lines.Err()
}
