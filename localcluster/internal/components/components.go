// Package components builds the programs of the cluster from their Go modules
// and keeps the binaries in the cache, keyed by everything that went into them.
package components

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/elastichub/elastichub/localcluster/internal/host"
	"github.com/elastichub/elastichub/localcluster/internal/progress"
)

// packages maps a program's name to the package it is built from.
var packages = map[string]string{
	"coredns":                 "./coredns",
	"etcd":                    "go.etcd.io/etcd/server/v3",
	"helm":                    "helm.sh/helm/v3/cmd/helm",
	"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
	"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
	"kube-proxy":              "k8s.io/kubernetes/cmd/kube-proxy",
	"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
	"kubectl":                 "k8s.io/kubernetes/cmd/kubectl",
	"kubelet":                 "k8s.io/kubernetes/cmd/kubelet",
	"pause":                   "./pause",
}

// All names every program a cluster needs.
var All = []string{
	"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet",
	"kube-proxy", "kubectl", "helm", "coredns", "pause",
}

// Assets names the programs that tests against a bare API server need; their
// names are those that controller-runtime's envtest looks for.
var Assets = []string{"etcd", "kube-apiserver", "kubectl", "helm"}

// Clients names the programs for a cluster that somebody else runs.
var Clients = []string{"kubectl", "helm"}

// Builder builds programs out of the component module in Source.
type Builder struct {
	Source   string // directory of the component module
	CacheDir string
	Progress *progress.Printer
}

// Build makes sure that the named programs exist and returns the directory
// they are in. Programs that are there already are not built again.
func (b Builder) Build(ctx context.Context, names []string) (string, error) {
	version, err := kubernetesVersion(filepath.Join(b.Source, "go.mod"))
	if err != nil {
		return "", err
	}
	toolchain, err := goVersion(ctx, b.Source)
	if err != nil {
		return "", err
	}
	flags := linkerFlags(version)
	key, err := sourceKey(os.DirFS(b.Source), toolchain, runtime.GOARCH, flags)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.CacheDir, "components", key)
	if len(missing(dir, names)) == 0 {
		return dir, b.linkStable(dir)
	}

	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := host.Lock(ctx, dir+".lock", func(holder string) {
		b.Progress.Say("waiting for another build of the components (%s)", holder)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	todo := missing(dir, names)
	if len(todo) == 0 {
		return dir, b.linkStable(dir)
	}
	if err := b.compile(ctx, dir, todo, flags); err != nil {
		return "", err
	}
	return dir, b.linkStable(dir)
}

// linkStable makes <cache>/bin/NAME lead to the newest build of each program,
// for people's PATH.
func (b Builder) linkStable(dir string) error {
	bin := filepath.Join(b.CacheDir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for _, name := range All {
		link, target := filepath.Join(bin, name), filepath.Join(dir, name)
		if _, err := os.Stat(target); err != nil {
			continue // not asked for
		}
		if current, err := os.Readlink(link); err == nil && current == target {
			continue
		}
		temporary := fmt.Sprintf("%s.%d", link, os.Getpid())
		if err := os.Symlink(target, temporary); err != nil {
			return err
		}
		if err := os.Rename(temporary, link); err != nil {
			return err
		}
	}
	return nil
}

// compile runs one `go build` for all of them, which shares the work best, and
// tells of each program as it appears.
func (b Builder) compile(ctx context.Context, dir string, names []string, flags string) error {
	work := filepath.Join(dir, ".building")
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(work)

	args := []string{"build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", flags, "-o", work + "/"}
	for _, name := range names {
		args = append(args, packages[name])
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.Source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output

	what := "building " + strings.Join(names, ", ")
	b.Progress.Say("%s from source (minutes when cold, seconds when Go's build cache is warm)", what)
	begin := time.Now()
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		b.announce(work, names, begin, stop)
	}()
	err := cmd.Run()
	close(stop)
	<-stopped
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, host.LastLines(output.String(), 20))
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(work, outputName(packages[name])), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	b.Progress.Say("built %d programs: %s", len(names), progress.Round(time.Since(begin)))
	return nil
}

// announce prints each program once it has been linked, and a sign of life
// while there is none to print.
func (b Builder) announce(work string, names []string, begin time.Time, stop <-chan struct{}) {
	seen := make(map[string]bool)
	spoke := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for _, name := range names {
			if _, err := os.Stat(filepath.Join(work, outputName(packages[name]))); err == nil && !seen[name] {
				seen[name] = true
				spoke = time.Now()
				b.Progress.Say("  %s after %s", name, progress.Round(time.Since(begin)))
			}
		}
		if time.Since(spoke) > 20*time.Second {
			spoke = time.Now()
			b.Progress.Say("  compiling … %s, %d of %d programs done", progress.Round(time.Since(begin)), len(seen), len(names))
		}
	}
}

// outputName is the file name `go build` gives a package's program.
func outputName(pkg string) string {
	name := path.Base(pkg)
	if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
		return path.Base(path.Dir(pkg))
	}
	return name
}

func missing(dir string, names []string) []string {
	var out []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			out = append(out, name)
		}
	}
	return out
}

// linkerFlags give the programs the version they are; without it the API
// server says v0.0.0 and charts that ask for a Kubernetes version refuse it.
func linkerFlags(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X "+pkg+".gitVersion="+version,
			"-X "+pkg+".gitMajor="+parts[0],
			"-X "+pkg+".gitMinor="+parts[1],
			"-X "+pkg+".gitTreeState=clean",
		)
	}
	return strings.Join(flags, " ")
}

func kubernetesVersion(goMod string) (string, error) {
	data, err := os.ReadFile(goMod)
	if err != nil {
		return "", err
	}
	file, err := modfile.Parse(goMod, data, nil)
	if err != nil {
		return "", err
	}
	for _, require := range file.Require {
		if require.Mod.Path == "k8s.io/kubernetes" {
			return require.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not require k8s.io/kubernetes", goMod)
}

func goVersion(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = dir
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("go is not installed, and the programs of the cluster are built from source")
	}
	if err != nil {
		return "", fmt.Errorf("go env GOVERSION: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// sourceKey is a hash over the module's files and the other inputs.
func sourceKey(source fs.FS, inputs ...string) (string, error) {
	sum := sha256.New()
	for _, input := range inputs {
		fmt.Fprintf(sum, "%q\n", input)
	}
	err := fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		switch path.Ext(name) {
		case ".go", ".mod", ".sum":
		default:
			return nil
		}
		file, err := source.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		fmt.Fprintf(sum, "%q\n", name)
		_, err = io.Copy(sum, file)
		return err
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}
