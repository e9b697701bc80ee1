package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// putVariables gives a kernel that was kept ready for nobody in particular what
// whoever takes it has in the environment.
func (a *agent) putVariables(w http.ResponseWriter, r *http.Request) {
	var body protocol.Variables
	if !understand(w, r, &body, func() error { return checkVariables(body.Variables) }) {
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
	if err := k.setVariables(ctx, body.Variables); err != nil {
		a.log.Warn("the kernel was not told its variables", slog.Any("error", err))
		problem(w, http.StatusConflict, "NotTold", "the kernel cannot be told variables")
		return
	}
	a.variables.Store(&body.Variables)
	w.WriteHeader(http.StatusNoContent)
}

func checkVariables(variables map[string]string) error {
	bytes := 0
	for name, value := range variables {
		bytes += len(name) + len(value)
		if !variableName.MatchString(name) || strings.HasPrefix(name, protocol.EnvReservedPrefix) || strings.ContainsRune(value, 0) {
			return fmt.Errorf("%.64q cannot be set", name)
		}
	}
	if bytes > protocol.VariablesBytes {
		return fmt.Errorf("the variables have %d bytes, at most %d", bytes, protocol.VariablesBytes)
	}
	return nil
}

// setVariables sets variables in the process that runs, which only its own language
// can. It leaves no name in the user's namespace and no number of a cell.
func (k *kernel) setVariables(ctx context.Context, variables map[string]string) error {
	var info struct {
		Language struct{ Name string } `json:"language_info"`
	}
	if err := json.Unmarshal(k.info, &info); err != nil || info.Language.Name != "python" {
		return fmt.Errorf("agent: nobody knows how to set variables in %q", info.Language.Name)
	}
	raw, err := json.Marshal(variables)
	if err != nil {
		return err
	}
	// A Go string in ASCII is a Python string.
	expression := "__import__('os').environ.update(__import__('json').loads(" + strconv.QuoteToASCII(string(raw)) + "))"
	_, err = k.evaluate(ctx, expression)
	return err
}
