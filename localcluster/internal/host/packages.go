package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// RuntimePackages are the Debian packages a running cluster needs.
var RuntimePackages = []string{
	"ca-certificates", "conntrack", "containerd", "containernetworking-plugins", "iproute2", "iptables", "mount", "runc",
}

// ImagePackages are the Debian packages that building images needs.
var ImagePackages = []string{"buildah", "ca-certificates", "debootstrap"}

// MissingPackages returns those of the packages that are not installed.
func MissingPackages(ctx context.Context, packages []string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f=${binary:Package} ${db:Status-Status}\n").Output()
	if err != nil {
		return nil, fmt.Errorf("list installed packages (this needs Debian): %w", err)
	}
	installed := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		name, status, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ = strings.Cut(name, ":")
		installed[name] = installed[name] || status == "installed"
	}
	var missing []string
	for _, name := range packages {
		if !installed[name] {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// InstallPackages installs Debian packages, waiting for other package managers
// to finish.
func InstallPackages(ctx context.Context, packages []string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("root is needed to install %s", strings.Join(packages, ", "))
	}
	// The package lists are guarded by a lock of their own, for which apt-get
	// has no time-out: try again for a while.
	var err error
	for range 30 {
		if err = aptGet(ctx, "update"); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
	if err != nil {
		return err
	}
	return aptGet(ctx, append([]string{"install", "-y", "--no-install-recommends"}, packages...)...)
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=600"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, LastLines(string(out), 10))
	}
	return nil
}
