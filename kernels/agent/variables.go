package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// putVariables gives a kernel that was kept ready what whoever takes it has in the
// environment, and has it run where the document is.
func (a *agent) putVariables(w http.ResponseWriter, r *http.Request) {
	var body protocol.Variables
	if !understand(w, r, &body, func() error { return checkVariables(body) }) {
		return
	}
	if former := a.variables.Load(); former != nil && reflect.DeepEqual(*former, body) {
		w.WriteHeader(http.StatusNoContent) // it may be told its state by now
		return
	}
	a.mu.RLock()
	k := a.kernel
	a.mu.RUnlock()
	if k == nil {
		problem(w, http.StatusConflict, "NotRunning", "the kernel is not running yet")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), protocol.CallTimeout)
	defer cancel()
	if err := k.setVariables(ctx, body); err != nil {
		a.logger(r).Warn("the kernel was not told its variables", slog.Any("error", err))
		problem(w, http.StatusConflict, "NotTold", "the kernel cannot be told variables")
		return
	}
	a.variables.Store(&body)
	w.WriteHeader(http.StatusNoContent)
}

func checkVariables(told protocol.Variables) error {
	bytes := 0
	for name, value := range told.Variables {
		bytes += len(name) + len(value)
		if !variableName.MatchString(name) || strings.HasPrefix(name, protocol.EnvReservedPrefix) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("%.64q cannot be set", name)
		}
	}
	if d := told.Directory; d != nil {
		for _, dir := range append([]string{d.Path}, d.Roots...) {
			bytes += len(dir)
			if !path.IsAbs(dir) || strings.ContainsRune(dir, 0) {
				return fmt.Errorf("%.64q is no absolute path", dir)
			}
		}
	}
	if bytes > protocol.VariablesBytes {
		return fmt.Errorf("variables and paths have %d bytes, at most %d", bytes, protocol.VariablesBytes)
	}
	return nil
}

// tellPython sets variables and changes the directory as run-kernel would have it. It
// is an expression, whose names are nobody's.
const tellPython = `(lambda os, variables, path="", roots=(): (
	os.environ.update(variables or {}),
	[os.chdir(path) for root in map(os.path.realpath, roots) if os.path.isdir(path) and os.path.commonpath([path, root]) == root],
) and None)(**(lambda os, told: {
	"os": os, "variables": told["variables"],
	**({"path": os.path.realpath(told["directory"]["path"]), "roots": told["directory"]["roots"] or ()} if "directory" in told else {}),
})(__import__("os"), __import__("json").loads(%s)))`

// setVariables sets variables and directory of the process that runs, which only its
// own language can. It leaves no name in the user's namespace and no number of a cell.
func (k *kernel) setVariables(ctx context.Context, told protocol.Variables) error {
	var info struct {
		Language struct{ Name string } `json:"language_info"`
	}
	if err := json.Unmarshal(k.info, &info); err != nil || info.Language.Name != "python" {
		return fmt.Errorf("agent: nobody knows how to set variables in %q", info.Language.Name)
	}
	raw, err := json.Marshal(told)
	if err != nil {
		return err
	}
	// A Go string in ASCII is a Python string.
	_, err = k.evaluate(ctx, fmt.Sprintf(tellPython, strconv.QuoteToASCII(string(raw))))
	return err
}
