package images

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

// Request is one image to build.
type Request struct {
	Tag        string
	Dockerfile string
	Context    string
	Args       map[string]string
}

// Build builds an image, unless one was already built from the same
// Dockerfile, context, arguments and base.
func (s *Store) Build(ctx context.Context, request Request) error {
	args := maps.Clone(request.Args)
	if args == nil {
		args = make(map[string]string)
	}
	// The Dockerfiles default to public images; here there are only our own.
	if _, given := args["BASE"]; !given {
		args["BASE"] = Base
	}
	for _, value := range args {
		var err error
		switch value {
		case Base:
			err = s.EnsureBase(ctx)
		case Static:
			err = s.EnsureStatic(ctx)
		}
		if err != nil {
			return err
		}
	}
	unlock, err := s.lock(ctx, request.Tag)
	if err != nil {
		return err
	}
	defer unlock()
	inputs, err := s.inputs(ctx, request, args)
	if err != nil {
		return err
	}
	current, err := s.current(ctx, request.Tag, inputs)
	if err != nil {
		return err
	}
	if !current {
		if err := s.progress.Do("building "+request.Tag, func() error { return s.build(ctx, request, args) }); err != nil {
			return err
		}
		if err := s.remember(ctx, request.Tag, inputs); err != nil {
			return err
		}
	}
	size, err := s.size(ctx, request.Tag)
	if err != nil {
		return err
	}
	if current {
		s.progress.Say("%s is up to date, %s", request.Tag, size)
	} else {
		s.progress.Say("%s is %s", request.Tag, size)
	}
	return nil
}

func (s *Store) build(ctx context.Context, request Request, args map[string]string) error {
	sources, err := s.writeSources(ctx)
	if err != nil {
		return err
	}
	before, err := s.ID(ctx, request.Tag)
	if err != nil {
		return err
	}
	command := []string{
		"build", "--isolation", "chroot", "--layers", "--pull-never",
		"--tag", request.Tag, "--file", request.Dockerfile,
		// Mounts exist during the build steps and leave nothing in the image.
		// With the machine's certificate authorities, downloads also work where
		// a network inspects TLS.
		"--volume", "/etc/ssl/certs:/etc/ssl/certs:ro",
		"--volume", sources + ":/etc/apt/sources.list:ro",
		"--volume", filepath.Join(s.dir, "pip") + ":/root/.cache/pip",
		"--volume", filepath.Join(s.dir, "npm") + ":/root/.npm",
	}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		command = append(command, "--build-arg", name+"="+args[name])
	}
	log, err := os.Create(strings.TrimSuffix(s.recordFile(request.Tag), ".json") + ".log")
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command(ctx, append(command, request.Context)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("buildah build: %w\n%s\n--- (whole log: %s)", err, host.LastLines(string(text), 30), log.Name())
	}
	after, err := s.ID(ctx, request.Tag)
	if err != nil {
		return err
	}
	if before != "" && before != after {
		// What the tag had before is of no use any more. It may refuse to go
		// while a newer image's layers build on it, which is as well.
		_, _ = s.buildah(ctx, "rmi", strings.TrimPrefix(before, "sha256:"))
	}
	return nil
}

// inputs is a hash of everything an image is built from.
func (s *Store) inputs(ctx context.Context, request Request, args map[string]string) (string, error) {
	dockerfile, err := os.ReadFile(request.Dockerfile)
	if err != nil {
		return "", err
	}
	files, err := hashContext(request.Context, request.Dockerfile)
	if err != nil {
		return "", err
	}
	parts := []string{string(dockerfile), files}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		parts = append(parts, name, args[name])
		// A local image may be another one under the same tag.
		if strings.HasPrefix(args[name], "localhost/") {
			id, err := s.ID(ctx, args[name])
			if err != nil {
				return "", err
			}
			if id == "" {
				return "", fmt.Errorf("build argument %s: there is no image %s", name, args[name])
			}
			parts = append(parts, id)
		}
	}
	return digest(parts...), nil
}
