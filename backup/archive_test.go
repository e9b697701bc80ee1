package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func object(apiVersion, kind, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace("ns")
	o.SetName(name)
	return o
}

const ourVersion = "kubeflow.tkestack.io/v1alpha1"

func sample() *Contents {
	secret := object("v1", "Secret", "s")
	secret.Object = map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": secret.Object["metadata"], "data": map[string]any{"k": "djRsdWU="}}
	return &Contents{
		Manifest: Manifest{Namespaces: []string{"ns"}},
		Objects:  []*unstructured.Unstructured{object(ourVersion, "JupyterKernel", "k"), object(ourVersion, "GroupPolicy", "p")},
		Secrets:  []*unstructured.Unstructured{secret},
	}
}

// repack lets change decide what becomes of each file.
func repack(t *testing.T, archive []byte, change func(name string, data []byte) (string, []byte)) []byte {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	require.NoError(t, err)
	from := tar.NewReader(zip)
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	to := tar.NewWriter(packed)
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		data, err := io.ReadAll(from)
		require.NoError(t, err)
		if header.Name, data = change(header.Name, data); header.Name == "" {
			continue
		}
		header.Size = int64(len(data))
		require.NoError(t, to.WriteHeader(header))
		_, err = to.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, to.Close())
	require.NoError(t, packed.Close())
	return out.Bytes()
}

// TestArchive: what was written is read, and whatever is not it is refused as a whole.
func TestArchive(t *testing.T) {
	t.Parallel()
	identity, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	stranger, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	var buffer bytes.Buffer
	require.NoError(t, Write(&buffer, sample(), "1.2.3", time.Unix(1, 5), identity.Recipient()))
	archive := buffer.Bytes()

	found, err := Read(bytes.NewReader(archive), identity)
	require.NoError(t, err)
	assert.Equal(t, sample().Objects, found.Objects)
	assert.Equal(t, sample().Secrets, found.Secrets)
	assert.Equal(t, "1.2.3", found.Manifest.Version)
	assert.Equal(t, map[string]int{"JupyterKernel": 1, "GroupPolicy": 1, "Secret": 1}, found.Manifest.Counts)
	assert.Equal(t, "1 secrets, 1 grouppolicies, 1 jupyterkernels", found.Manifest.Summary())
	found, err = Read(bytes.NewReader(archive))
	require.NoError(t, err)
	assert.Nil(t, found.Secrets, "nobody has a key")

	_, err = Read(bytes.NewReader(archive), stranger)
	require.ErrorIs(t, err, ErrKey)
	for n := range len(archive) {
		_, err := Read(bytes.NewReader(archive[:n]), identity)
		require.Error(t, err, "cut after %d of %d bytes", n, len(archive))
		require.True(t, errors.Is(err, ErrTruncated) || errors.Is(err, ErrNotArchive), err)
	}
	_, err = Read(bytes.NewReader(archive[:len(archive)-1]), identity)
	require.ErrorIs(t, err, ErrTruncated)
	for n := 10; n < len(archive); n += 7 {
		broken := bytes.Clone(archive)
		broken[n] ^= 0x10
		if read, err := Read(bytes.NewReader(broken), identity); err == nil { // it may unpack to the same
			require.Equal(t, sample().Objects, read.Objects, "bit of byte %d", n)
			require.Equal(t, sample().Secrets, read.Secrets, "bit of byte %d", n)
		}
	}

	kernel := "objects/jupyterkernels/ns/k.json"
	manifest := func(change func(m *Manifest)) func(string, []byte) (string, []byte) {
		return func(name string, data []byte) (string, []byte) {
			if name != manifestName {
				return name, data
			}
			var m Manifest
			require.NoError(t, json.Unmarshal(data, &m))
			change(&m)
			data, err := json.Marshal(m)
			require.NoError(t, err)
			return name, data
		}
	}
	for name, c := range map[string]struct {
		change func(string, []byte) (string, []byte)
		want   error
	}{
		"of a newer release": {manifest(func(m *Manifest) { m.Format, m.Version = 2, "9.0" }), ErrNewer},
		"a file is missing": {func(name string, data []byte) (string, []byte) {
			if name == kernel {
				return "", nil
			}
			return name, data
		}, ErrTruncated},
		"a file was changed": {func(name string, data []byte) (string, []byte) {
			if name == kernel {
				return name, bytes.Replace(data, []byte(`"k"`), []byte(`"q"`), 1)
			}
			return name, data
		}, ErrDamaged},
		"another namespace": {manifest(func(m *Manifest) { m.Namespaces = []string{"other"} }), ErrDamaged},
		"no manifest": {func(name string, data []byte) (string, []byte) {
			if name == manifestName {
				return "", nil
			}
			return name, data
		}, ErrNotArchive},
	} {
		_, err := Read(bytes.NewReader(repack(t, archive, c.change)), identity)
		assert.ErrorIs(t, err, c.want, name)
	}
	unknown := []byte(`{"apiVersion": "kubeflow.tkestack.io/v9", "kind": "JupyterCluster", "metadata": {"name": "k", "namespace": "ns"}}`)
	newer := repack(t, archive, manifest(func(m *Manifest) { m.Digests[kernel] = digest(unknown) }))
	newer = repack(t, newer, func(name string, data []byte) (string, []byte) {
		if name == kernel {
			return name, unknown
		}
		return name, data
	})
	_, err = Read(bytes.NewReader(newer), identity)
	require.ErrorIs(t, err, ErrNewer)
	require.ErrorContains(t, err, "JupyterCluster")
	_, err = Read(bytes.NewReader([]byte("PK no archive")), identity)
	require.ErrorIs(t, err, ErrNotArchive)
}

// TestPassphrase opens Secrets that were sealed with one, and no other does.
func TestPassphrase(t *testing.T) {
	t.Parallel()
	recipient, err := age.NewScryptRecipient("correct horse")
	require.NoError(t, err)
	recipient.SetWorkFactor(10)
	var archive bytes.Buffer
	require.NoError(t, Write(&archive, sample(), "", time.Now(), recipient))
	right, err := age.NewScryptIdentity("correct horse")
	require.NoError(t, err)
	wrong, err := age.NewScryptIdentity("wrong horse")
	require.NoError(t, err)
	found, err := Read(bytes.NewReader(archive.Bytes()), right)
	require.NoError(t, err)
	assert.Len(t, found.Secrets, 1)
	_, err = Read(bytes.NewReader(archive.Bytes()), wrong)
	require.ErrorIs(t, err, ErrKey)
	require.Error(t, Write(io.Discard, sample(), "", time.Now()), "nobody could open them")
}
