package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// CreateNamespace makes a network namespace that lives as long as it is mounted at
// file, which UnmountBelow ends.
func CreateNamespace(file string) error {
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		own := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(own, file, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount network namespace at %s: %w", file, err)
		}
		return nil
	})
}

// InNamespace runs a function in the network namespace that is mounted at file, or, if
// that is empty, where it is. Processes that it starts are in it, too.
func InNamespace(file string, do func() error) error {
	if file == "" {
		return do()
	}
	return onOwnThread(func() error {
		namespace, err := os.Open(file)
		if err != nil {
			return err
		}
		defer namespace.Close()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", file, err)
		}
		return do()
	})
}

// onOwnThread runs a function on a thread that ends with it, since the namespace of a
// thread cannot be given back to the scheduler of goroutines.
func onOwnThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- do()
	}()
	return <-done
}

// Branch is the network of a further node of this machine: Within is that of its Pods, in
// a network namespace, and a pair of interfaces leads there.
type Branch struct {
	Namespace   string // the file it is mounted at
	Link        string // this machine's interface; the other one is eth0
	LinkCIDR    string
	Near, Far   string // the addresses of the interfaces, in LinkCIDR
	Within      Network
	Trunk       Network // of this machine
	ClusterCIDR string  // of all Pods and links
}

// rules of this machine. Between Pods nothing is translated, so that the one sees the
// address of the other.
func (b Branch) rules() [][]string {
	return [][]string{
		{"filter", "FORWARD", "-s", b.Within.PodCIDR, "-j", "ACCEPT"},
		{"filter", "FORWARD", "-d", b.Within.PodCIDR, "-j", "ACCEPT"},
		{"filter", "FORWARD", "-s", b.LinkCIDR, "-j", "ACCEPT"},
		{"filter", "FORWARD", "-d", b.LinkCIDR, "-j", "ACCEPT"},
		{"nat", "POSTROUTING", "-s", b.Within.PodCIDR, "!", "-d", b.ClusterCIDR, "-j", "MASQUERADE"},
	}
}

// untranslated has a network's own rule leave alone what goes to others of the cluster: it
// has to come first.
func untranslated(from Network, to string) []string {
	return []string{"nat", "POSTROUTING", "-s", from.PodCIDR, "-d", to, "-j", "RETURN"}
}

// Setup makes the namespace and leads Pods' packets there and back.
func (b Branch) Setup(ctx context.Context) error {
	if err := CreateNamespace(b.Namespace); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "add", b.Link, "type", "veth", "peer", "name", "eth0", "netns", b.Namespace},
		{"address", "add", b.Near + "/30", "dev", b.Link},
		{"link", "set", b.Link, "up"},
	} {
		if err := run(ctx, "ip", args...); err != nil {
			return err
		}
	}
	if err := InNamespace(b.Namespace, func() error {
		for _, args := range [][]string{
			{"link", "set", "lo", "up"},
			{"address", "add", b.Far + "/30", "dev", "eth0"},
			{"link", "set", "eth0", "up"},
			{"route", "add", "default", "via", b.Near},
		} {
			if err := run(ctx, "ip", args...); err != nil {
				return err
			}
		}
		// What it changes is the namespace's alone, or was changed for the first node.
		if _, err := b.Within.Setup(ctx); err != nil {
			return err
		}
		return change(ctx, "-I", untranslated(b.Within, b.ClusterCIDR))
	}); err != nil {
		return fmt.Errorf("network of the second node: %w", err)
	}
	if err := run(ctx, "ip", "route", "add", b.Within.PodCIDR, "via", b.Far); err != nil {
		return err
	}
	for _, rule := range b.rules() {
		if err := change(ctx, "-A", rule); err != nil {
			return err
		}
	}
	return change(ctx, "-I", untranslated(b.Trunk, b.Within.PodCIDR))
}

// Teardown removes what Setup made but the namespace, which goes with its mount and takes
// the interfaces and what is in it along.
func (b Branch) Teardown(ctx context.Context) error {
	var failed []error
	for _, rule := range append(b.rules(), untranslated(b.Trunk, b.Within.PodCIDR)) {
		if change(ctx, "-C", rule) == nil {
			failed = append(failed, change(ctx, "-D", rule))
		}
	}
	return errors.Join(append(failed, removeInterface(ctx, b.Link))...)
}
