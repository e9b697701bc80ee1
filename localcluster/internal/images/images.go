// Package images builds container images from Dockerfiles, on base images made
// from Debian packages, and loads them into the cluster. No registry and no
// Docker take part.
package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/elastichub/elastichub/localcluster/internal/host"
	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

// Store is the image builder's storage in the cache directory.
type Store struct {
	dir      string
	driver   string
	progress *progress.Printer
}

// Open makes the storage ready: it installs the tools and chooses the storage
// driver that works on this machine.
func Open(ctx context.Context, cacheDir string, p *progress.Printer) (*Store, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("root is needed to build images")
	}
	missing, err := host.MissingPackages(ctx, host.ImagePackages)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		if err := p.Do(fmt.Sprintf("installing %d Debian packages", len(missing)), func() error {
			return host.InstallPackages(ctx, missing)
		}); err != nil {
			return nil, err
		}
	}
	s := &Store{dir: filepath.Join(cacheDir, "images"), progress: p}
	for _, dir := range []string{"records", "pip", "npm"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	return s, s.chooseDriver(ctx)
}

// chooseDriver prefers overlay, which shares layers, and falls back to vfs,
// which copies them but works everywhere. The choice is kept, since the two
// do not see each other's images.
func (s *Store) chooseDriver(ctx context.Context) error {
	file := filepath.Join(s.dir, "driver")
	if choice, err := os.ReadFile(file); err == nil {
		s.driver = strings.TrimSpace(string(choice))
		return nil
	}
	s.driver = "overlay"
	container, err := s.buildah(ctx, "from", "scratch")
	if err == nil {
		_, err = s.buildah(ctx, "mount", container)
		_, removal := s.buildah(ctx, "rm", container)
		err = errors.Join(err, removal)
	}
	if err != nil {
		s.progress.Say("overlay storage does not work here, using vfs: %v", err)
		s.driver = "vfs"
	}
	return host.WriteFile(file, []byte(s.driver), 0o644)
}

// command is a buildah command on this storage and no other.
func (s *Store) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "buildah", append([]string{
		"--root", filepath.Join(s.dir, "storage"),
		"--runroot", filepath.Join(s.dir, "run"),
		"--storage-driver", s.driver,
	}, args...)...)
}

// buildah runs a command and returns what it printed.
func (s *Store) buildah(ctx context.Context, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := s.command(ctx, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("buildah %s: %w: %s", args[0], err, host.LastLines(stderr.String(), 5))
	}
	return strings.TrimSpace(string(out)), nil
}

// ID returns the id of the image with the tag, or "" if there is none.
func (s *Store) ID(ctx context.Context, tag string) (string, error) {
	out, err := s.buildah(ctx, "images", "--format", "{{.Name}}:{{.Tag}} {{.ID}}", "--no-trunc")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		// The columns are padded with blanks.
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == tag {
			return "sha256:" + strings.TrimPrefix(fields[1], "sha256:"), nil
		}
	}
	return "", nil
}

// size is the image's size as buildah prints it.
func (s *Store) size(ctx context.Context, tag string) (string, error) {
	// An image of several tags is listed once for each.
	listed, err := s.buildah(ctx, "images", "--format", "{{.Size}}", tag)
	size, _, _ := strings.Cut(listed, "\n")
	return size, err
}

// lock serializes work on one tag.
func (s *Store) lock(ctx context.Context, tag string) (func(), error) {
	return host.Lock(ctx, s.recordFile(tag)+".lock", func(holder string) {
		s.progress.Say("waiting for another build of %s (%s)", tag, holder)
	})
}

// record is what an image was made from.
type record struct {
	Inputs string `json:"inputs"`
	ID     string `json:"id"`
}

func (s *Store) recordFile(tag string) string {
	return filepath.Join(s.dir, "records", strings.NewReplacer("/", "_", ":", "_").Replace(tag)+".json")
}

// current says whether the tag's image exists and was made from the inputs.
func (s *Store) current(ctx context.Context, tag, inputs string) (bool, error) {
	data, err := os.ReadFile(s.recordFile(tag))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var made record
	if err := json.Unmarshal(data, &made); err != nil {
		return false, fmt.Errorf("%s: %w", s.recordFile(tag), err)
	}
	if made.Inputs != inputs {
		return false, nil
	}
	id, err := s.ID(ctx, tag)
	return id != "" && id == made.ID, err
}

func (s *Store) remember(ctx context.Context, tag, inputs string) error {
	id, err := s.ID(ctx, tag)
	if err != nil {
		return err
	}
	data, err := json.Marshal(record{Inputs: inputs, ID: id})
	if err != nil {
		return err
	}
	return host.WriteFile(s.recordFile(tag), data, 0o644)
}
