package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// format is raised when this release could not read what is written.
	format       = 1
	manifestName = "manifest.json"
	secretsName  = "secrets.age"
	objectsName  = "objects"

	// What an archive may have; etcd bounds an object to less.
	mostFile     = 4 << 20
	mostSecrets  = 256 << 20
	mostManifest = 64 << 20
	mostBytes    = 2 << 30
)

// Manifest is what an archive says of itself.
type Manifest struct {
	Format int `json:"format"`
	// Version of elastichub that has written it, and when.
	Version    string    `json:"version"`
	Time       time.Time `json:"time"`
	Namespaces []string  `json:"namespaces"`
	// Counts of objects by kind, Secrets among them.
	Counts map[string]int `json:"counts"`
	// Digests are SHA-256 of all other files.
	Digests map[string]string `json:"digests"`
}

// Errors of archives that are not read.
var (
	ErrNotArchive = errors.New("backup: this is no archive of elastichub backup")
	ErrTruncated  = errors.New("backup: the archive is not complete")
	ErrDamaged    = errors.New("backup: the archive is damaged")
	ErrNewer      = errors.New("backup: the archive is of a newer elastichub")
	ErrKey        = errors.New("backup: the Secrets cannot be opened with this key or passphrase")
)

type file struct {
	name string
	data []byte
}

// Write writes an archive, with the Secrets sealed for the recipients.
func Write(to io.Writer, c *Contents, version string, now time.Time, recipients ...age.Recipient) error {
	c.Manifest.Format, c.Manifest.Version, c.Manifest.Time = format, version, now.UTC().Truncate(time.Second)
	c.Manifest.Counts, c.Manifest.Digests = map[string]int{}, map[string]string{}
	var files []file
	for _, o := range c.Objects {
		data, err := encode(o)
		if err != nil {
			return err
		}
		c.Manifest.Counts[o.GetKind()]++
		files = append(files, file{nameOf(o), data})
	}
	if len(c.Secrets) > 0 {
		sealed, err := seal(c.Secrets, recipients)
		if err != nil {
			return err
		}
		c.Manifest.Counts["Secret"] = len(c.Secrets)
		files = append(files, file{secretsName, sealed})
	}
	for _, f := range files {
		c.Manifest.Digests[f.name] = digest(f.data)
	}
	manifest, err := json.MarshalIndent(c.Manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	zip := gzip.NewWriter(to)
	archive := tar.NewWriter(zip)
	for _, f := range append([]file{{manifestName, append(manifest, '\n')}}, files...) {
		header := &tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.data)), ModTime: c.Manifest.Time, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("backup: write the archive: %w", err)
		}
		if _, err := archive.Write(f.data); err != nil {
			return fmt.Errorf("backup: write the archive: %w", err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		return fmt.Errorf("backup: write the archive: %w", err)
	}
	return nil
}

func nameOf(o *unstructured.Unstructured) string {
	return path.Join(objectsName, kinds[place(o.GroupVersionKind())].plural, o.GetNamespace(), o.GetName()+".json")
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func seal(secrets []*unstructured.Unstructured, recipients []age.Recipient) ([]byte, error) {
	if len(recipients) == 0 {
		return nil, errors.New("backup: there is nobody whom the Secrets could be sealed for")
	}
	var sealed bytes.Buffer
	to, err := age.Encrypt(&sealed, recipients...)
	if err != nil {
		return nil, fmt.Errorf("backup: seal the Secrets: %w", err)
	}
	objects := make([]map[string]any, 0, len(secrets))
	for _, s := range secrets {
		objects = append(objects, s.Object)
	}
	if err := json.NewEncoder(to).Encode(objects); err != nil {
		return nil, fmt.Errorf("backup: seal the Secrets: %w", err)
	}
	if err := to.Close(); err != nil {
		return nil, fmt.Errorf("backup: seal the Secrets: %w", err)
	}
	return sealed.Bytes(), nil
}

// Read reads a whole archive, and its Secrets if there are identities. Errors: ErrNotArchive,
// ErrTruncated, ErrDamaged, ErrNewer, ErrKey.
func Read(from io.Reader, identities ...age.Identity) (*Contents, error) {
	zip, err := gzip.NewReader(from)
	if err != nil {
		return nil, ErrNotArchive
	}
	archive := tar.NewReader(io.LimitReader(zip, mostBytes))
	contents, err := readManifest(archive)
	if err != nil {
		return nil, err
	}
	missing := map[string]bool{}
	for name := range contents.Manifest.Digests {
		missing[name] = true
	}
	for {
		f, err := nextFile(archive)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if !missing[f.name] || digest(f.data) != contents.Manifest.Digests[f.name] {
			return nil, fmt.Errorf("%w: %s is not what its manifest says", ErrDamaged, f.name)
		}
		delete(missing, f.name)
		if err := contents.take(f, identities); err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(io.Discard, zip); err != nil { // its checksum is at the end
		return nil, cut(err)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: %d files are missing", ErrTruncated, len(missing))
	}
	return contents, nil
}

// cut tells an archive that ends too early from one that is damaged otherwise.
func cut(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends too early", ErrTruncated)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

func nextFile(archive *tar.Reader) (file, error) {
	header, err := archive.Next()
	if errors.Is(err, io.EOF) {
		return file{}, io.EOF
	}
	if err != nil {
		return file{}, cut(err)
	}
	most := int64(mostFile)
	switch header.Name {
	case secretsName:
		most = mostSecrets
	case manifestName:
		most = mostManifest
	}
	if header.Typeflag != tar.TypeReg || !fs.ValidPath(header.Name) || header.Size > most {
		return file{}, fmt.Errorf("%w: %q is no file that belongs there", ErrDamaged, header.Name)
	}
	data, err := io.ReadAll(archive)
	if err != nil {
		return file{}, cut(err)
	}
	return file{header.Name, data}, nil
}

func readManifest(archive *tar.Reader) (*Contents, error) {
	f, err := nextFile(archive)
	switch {
	case errors.Is(err, ErrTruncated):
		return nil, err
	case err != nil, f.name != manifestName:
		return nil, ErrNotArchive
	}
	c := &Contents{}
	if err := json.Unmarshal(f.data, &c.Manifest); err != nil {
		return nil, ErrNotArchive
	}
	switch m := &c.Manifest; {
	case m.Format > format:
		return nil, fmt.Errorf("%w: %s has written it, in format %d, and this one reads format %d", ErrNewer, m.Version, m.Format, format)
	case m.Format < 1:
		return nil, ErrNotArchive
	}
	return c, nil
}

// take adds a file's objects.
func (c *Contents) take(f file, identities []age.Identity) error {
	if f.name == secretsName {
		if len(identities) == 0 {
			return nil
		}
		secrets, err := open(f.data, identities)
		c.Secrets = secrets
		return err
	}
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal(f.data, &o.Object); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, f.name, err)
	}
	at := place(o.GroupVersionKind())
	switch {
	case !strings.HasPrefix(f.name, objectsName+"/"):
		return fmt.Errorf("%w: %s is no file that belongs there", ErrDamaged, f.name)
	case at < 0:
		return fmt.Errorf("%w: %s is of the kind %s, which this elastichub does not know", ErrNewer, f.name, o.GroupVersionKind())
	case kinds[at].sealed || nameOf(o) != f.name || !slices.Contains(c.Manifest.Namespaces, o.GetNamespace()):
		return fmt.Errorf("%w: %s is another object than its name says", ErrDamaged, f.name)
	}
	c.Objects = append(c.Objects, o)
	return nil
}

func open(sealed []byte, identities []age.Identity) ([]*unstructured.Unstructured, error) {
	from, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	text, err := io.ReadAll(io.LimitReader(from, mostSecrets))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, secretsName, err)
	}
	var objects []map[string]any
	if err := json.Unmarshal(text, &objects); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, secretsName, err)
	}
	var secrets []*unstructured.Unstructured
	for _, object := range objects {
		secret := &unstructured.Unstructured{Object: object}
		if secret.GroupVersionKind() != kinds[0].GroupVersionKind {
			return nil, fmt.Errorf("%w: %s has a %s", ErrDamaged, secretsName, secret.GetKind())
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// Summary is what an archive has, in words.
func (m *Manifest) Summary() string {
	var parts []string
	for _, kind := range kinds {
		if n := m.Counts[kind.Kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, kind.plural))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
