package hubapi_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/spawner"
)

// TestAStartThatNeverFits blames the choice that is beyond a bound of the namespace, by its field.
func TestAStartThatNeverFits(t *testing.T) {
	t.Parallel()
	const clause = "a LimitRange of its namespace does not allow it: cpu for each Container has to be at most 4, and the limit is 8."
	for name, row := range map[string]struct {
		unfit                *spawner.UnfitError
		pointer, field, code string
	}{
		"too much":       {&spawner.UnfitError{Clause: clause, Resource: "cpu", TooMuch: true}, "/options/cpu", "cpu", "above_max"},
		"a whole quota":  {&spawner.UnfitError{Clause: clause, Resource: "limits.memory", TooMuch: true}, "/options/memory", "memory", "above_max"},
		"too little":     {&spawner.UnfitError{Clause: clause, Resource: "memory"}, "/options/memory", "memory", "below_min"},
		"something else": {&spawner.UnfitError{Clause: clause, Resource: "requests.nvidia.com/gpu", TooMuch: true}, "/options", "", "not_offered"},
		"no choice":      {&spawner.UnfitError{Clause: clause}, "/options", "", "not_offered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.servers.Refuse(row.unfit)
			w := h.call("PUT", researcher+"/server?name=", `{"start":"s1","options":{"cpu":"3"},"env":{},"cmd":["c"],"args":[]}`)
			require.Equal(t, http.StatusUnprocessableEntity, w.Code)
			var problem struct {
				Type   string
				Errors []struct{ Pointer, Field, Code, Message string }
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &problem))
			assert.Equal(t, "urn:elastichub:problem:invalid-options", problem.Type)
			require.Len(t, problem.Errors, 1)
			assert.Equal(t, struct{ Pointer, Field, Code, Message string }{row.pointer, row.field, row.code, "The cluster would not take the server: " + clause}, problem.Errors[0])
		})
	}
}
