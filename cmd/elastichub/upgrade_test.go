package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/upgrade"
)

// TestUpgradeExit: what the exit status says. Package upgrade has the upgrade itself.
func TestUpgradeExit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		code exitCode
		says string
	}{
		{upgrade.ErrAgainst, 1, "elastichub: nothing was touched\n"},
		{errors.New("away"), 2, "elastichub: nothing was touched: away\n"},
		{fmt.Errorf("%w: too slow", upgrade.ErrUnfinished), 3, "elastichub: the upgrade was begun and is not finished: too slow\n"},
	} {
		var errs bytes.Buffer
		assert.Equal(t, row.code, upgraded(row.err, &errs))
		assert.Equal(t, row.says, errs.String())
	}
	require.NoError(t, upgraded(nil, nil))

	run := func(args ...string) (string, error) {
		var errs bytes.Buffer
		command := upgradeCommand()
		command.SilenceErrors, command.SilenceUsage = true, true
		command.SetErr(&errs)
		command.SetArgs(append([]string{"--kubeconfig", "/nowhere"}, args...))
		err := command.ExecuteContext(t.Context())
		return errs.String(), err
	}
	_, err := run("charts/elastichub", "--", "-f", "values.yaml")
	require.ErrorContains(t, err, "what Helm is given stands after --")
	_, err = run("--timeout", "0s")
	require.ErrorContains(t, err, "--timeout must be positive")
	errs, err := run("--dry-run", "--", "charts/elastichub", "-f", "values.yaml")
	assert.Equal(t, exitUnreachable, err)
	assert.Contains(t, errs, "nothing was touched: the cluster cannot be asked")
}
