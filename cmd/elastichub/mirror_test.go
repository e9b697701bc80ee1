package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/mirror"
	"github.com/elastichub/elastichub/test/helm"
)

// TestMirrorRefuses: an archive is looked at first, and nothing is printed that looks like values.
func TestMirrorRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "elastichub.tar")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for want, args := range map[string][]string{
		"accepts 1 arg(s)":                           {"mirror"},
		"it is cut after the beginning":              {"mirror", "127.0.0.1:1", "--archive", file},
		"open elastichub-" + buildVersion() + ".tar": {"mirror", "127.0.0.1:1"},
	} {
		root := command()
		var out bytes.Buffer
		root.SetArgs(args)
		root.SetOut(&out)
		root.SetErr(&bytes.Buffer{})
		require.ErrorContains(t, root.Execute(), want)
		assert.Empty(t, out.String())
	}
}

// TestBothChartsTakeTheValues: what mirror prints is all that they need to take their images from a registry.
func TestBothChartsTakeTheValues(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mirror.yaml")
	require.NoError(t, os.WriteFile(file, []byte(mirror.Values("registry.example.org:5000/a")), 0o600))
	for chart, image := range map[string]string{"elastichub": "service", "demo": "hub"} {
		out, err := helm.Run(t, "template", chart, "../../charts/"+chart, "--kube-version", "1.34", "--values", file)
		require.NoError(t, err, out)
		assert.Contains(t, out, "image: registry.example.org:5000/a/"+image+":")
	}
}
