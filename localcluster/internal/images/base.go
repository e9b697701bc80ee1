package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

const (
	// Base is a Debian with Python and tini.
	Base = "localhost/elastichub/base:bookworm"
	// Static has no programs: certificate authorities, users and /tmp only.
	Static = "localhost/elastichub/static:1"

	suite = "bookworm"
)

var basePackages = []string{"ca-certificates", "python3", "python3-venv", "tini"}

// trim removes what only people read or what can be fetched again, and tells
// dpkg to leave the like away in builds on top. Copyright files stay.
const trim = `set -eu
cat > etc/dpkg/dpkg.cfg.d/slim <<'END'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
END
cat > etc/apt/apt.conf.d/slim <<'END'
APT::Install-Recommends "false";
Acquire::Languages "none";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin"; };
END
find usr/share/doc -type f ! -name copyright -delete
find usr/share/doc -type l -delete
find usr/share/doc -type d -empty -delete
rm -rf usr/share/info usr/share/locale usr/share/man/* debootstrap
rm -rf var/cache/apt/* var/cache/debconf/*-old var/lib/apt/lists/* var/log/*
: > etc/apt/sources.list
: > etc/hostname
: > etc/machine-id
rm -f etc/resolv.conf
`

// staticFiles fills the static image; $1 is the base image's root.
const staticFiles = `set -eu
mkdir -p etc/ssl/certs home/nonroot tmp
chmod 1777 tmp
cp "$1/etc/ssl/certs/ca-certificates.crt" etc/ssl/certs/
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' > etc/passwd
printf 'root:x:0:\nnonroot:x:65532:\n' > etc/group
printf 'hosts: files dns\n' > etc/nsswitch.conf
chown 65532:65532 home/nonroot
`

// EnsureBase makes Base, once.
func (s *Store) EnsureBase(ctx context.Context) error {
	inputs := digest(suite, strings.Join(basePackages, ","), trim)
	return s.ensure(ctx, Base, inputs, func(root string) error {
		sources, err := debianSources(ctx)
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "debootstrap", "--variant=minbase",
			"--include="+strings.Join(basePackages, ","), suite, root, sources[0].URI)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("debootstrap: %w\n%s", err, host.LastLines(string(out), 10))
		}
		return script(ctx, root, trim)
	}, "--cmd", "/bin/bash", "--env", "LANG=C.UTF-8",
		"--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

// EnsureStatic makes Static, once. Its certificates are those of Base and so
// Debian's, not this machine's.
func (s *Store) EnsureStatic(ctx context.Context) error {
	if err := s.EnsureBase(ctx); err != nil {
		return err
	}
	base, err := s.ID(ctx, Base)
	if err != nil {
		return err
	}
	return s.ensure(ctx, Static, digest(base, staticFiles), func(root string) error {
		container, err := s.buildah(ctx, "from", "--pull-never", Base)
		if err != nil {
			return err
		}
		defer func() { _, _ = s.buildah(context.WithoutCancel(ctx), "rm", container) }()
		baseRoot, err := s.buildah(ctx, "mount", container)
		if err != nil {
			return err
		}
		return script(ctx, root, staticFiles, baseRoot)
	}, "--user", "65532:65532", "--workingdir", "/home/nonroot", "--env", "PATH=/usr/local/bin:/usr/bin:/bin")
}

// ensure makes an image whose files the function puts below a root directory.
func (s *Store) ensure(ctx context.Context, tag, inputs string, fill func(root string) error, config ...string) error {
	current, err := s.current(ctx, tag, inputs)
	if current || err != nil {
		return err
	}
	unlock, err := s.lock(ctx, tag)
	if err != nil {
		return err
	}
	defer unlock()
	// Somebody else may just have made it.
	current, err = s.current(ctx, tag, inputs)
	if current || err != nil {
		return err
	}
	return s.progress.Do("making "+tag, func() (err error) {
		container, err := s.buildah(ctx, "from", "scratch")
		if err != nil {
			return err
		}
		defer func() {
			_, removal := s.buildah(context.WithoutCancel(ctx), "rm", container)
			err = errors.Join(err, removal)
		}()
		root, err := s.buildah(ctx, "mount", container)
		if err != nil {
			return err
		}
		if err := fill(root); err != nil {
			return err
		}
		if _, err := s.buildah(ctx, append(append([]string{"config"}, config...), container)...); err != nil {
			return err
		}
		if _, err := s.buildah(ctx, "commit", "--quiet", container, tag); err != nil {
			return err
		}
		return s.remember(ctx, tag, inputs)
	})
}

func script(ctx context.Context, dir, text string, args ...string) error {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", text, "sh"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fill %s: %w: %s", dir, err, host.LastLines(string(out), 5))
	}
	return nil
}

// source is one of the machine's Debian archives.
type source struct {
	URI, Release, Component string
}

// debianSources are the archives of the base image's release that this machine
// itself uses, the main one first, so that builds need no other.
func debianSources(ctx context.Context) ([]source, error) {
	cmd := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)", "Created-By: Packages")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("apt-get indextargets: %w", err)
	}
	sources := parseSources(string(out))
	if len(sources) == 0 || sources[0].Release != suite {
		return nil, fmt.Errorf("this machine's apt sources have no Debian %s: base images are made from it (has `apt-get update` been run?)", suite)
	}
	return sources, nil
}

func parseSources(listing string) []source {
	var main, others []source
	seen := make(map[source]bool)
	for line := range strings.Lines(listing) {
		fields := strings.Fields(line)
		if len(fields) != 4 || !strings.HasPrefix(fields[3], "Debian") || !strings.HasPrefix(fields[1], suite) {
			continue
		}
		found := source{URI: fields[0], Release: fields[1], Component: fields[2]}
		if seen[found] {
			continue
		}
		seen[found] = true
		if found.Release == suite {
			main = append(main, found)
		} else {
			others = append(others, found)
		}
	}
	return append(main, others...)
}

// writeSources writes the machine's Debian archives as a sources.list.
func (s *Store) writeSources(ctx context.Context) (string, error) {
	sources, err := debianSources(ctx)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, source := range sources {
		fmt.Fprintf(&text, "deb %s %s %s\n", source.URI, source.Release, source.Component)
	}
	file := filepath.Join(s.dir, "sources.list")
	return file, os.WriteFile(file, []byte(text.String()), 0o644)
}

func digest(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%q\n", part)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
