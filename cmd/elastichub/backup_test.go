package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/backup"
)

// TestKeysOfBackups: Secrets are never written in clear, and a key or passphrase is read as it
// was given.
func TestKeysOfBackups(t *testing.T) {
	directory := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	identity, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	key, phrase := write("key.txt", "# of the tests\n"+identity.String()+"\n"), write("phrase.txt", "correct horse\n")

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"backup"}, "-o names no file"},
		{[]string{"backup", "-o", "x", "--secrets"}, "--secrets needs --recipient or --passphrase-file"},
		{[]string{"backup", "-o", "x", "--recipient", identity.Recipient().String()}, "they need --secrets"},
		{[]string{"backup", "-o", "x", "--secrets", "--recipient", "age1nonsense"}, `--recipient "age1nonsense"`},
		{[]string{"backup", "-o", "x", "--secrets", "--recipient", identity.Recipient().String(), "--passphrase-file", phrase}, "exclude each other"},
		{[]string{"restore", "x", "--identity", phrase}, "has no private key of age"},
		{[]string{"restore", "x", "--identity", key, "--passphrase-file", phrase}, "exclude each other"},
		{[]string{"restore", "x", "--passphrase-file", write("empty", "\n")}, "has no passphrase"},
		{[]string{"restore", phrase}, "this is no archive"},
	} {
		root := command()
		root.SetArgs(c.args)
		root.SetOut(&bytes.Buffer{})
		require.ErrorContains(t, root.Execute(), c.want, strings.Join(c.args, " "))
	}
	_, err = os.Stat("x")
	require.ErrorIs(t, err, os.ErrNotExist)
	identities, err := identitiesOf(key, "")
	require.NoError(t, err)
	assert.Equal(t, []age.Identity{identity}, identities)
}

// TestWriteRestored: whoever reads it sees what became of each object; the exit status tells a
// refusal from success.
func TestWriteRestored(t *testing.T) {
	contents := &backup.Contents{Manifest: backup.Manifest{Version: "1.0", Time: time.Unix(0, 0).UTC()}}
	report := backup.Report{
		Objects: []backup.Restored{{Kind: "JupyterKernel", Namespace: "ns", Name: "k", Outcome: backup.There, Why: "the same as in the archive"}, {Kind: "Namespace", Name: "ns", Outcome: backup.Created}},
		Lost:    []string{"A home."},
	}
	var out bytes.Buffer
	require.NoError(t, writeRestored(&out, contents, report, backup.Options{DryRun: true}))
	assert.Equal(t, `JupyterKernel ns/k is there (dry run): the same as in the archive
Namespace ns created (dry run)
A home.
The archive is of 1970-01-01T00:00:00Z, by elastichub 1.0.
`, out.String())
	report.Objects[0].Outcome = backup.Refused
	assert.Equal(t, exitIncomplete, writeRestored(&out, contents, report, backup.Options{}))
}
