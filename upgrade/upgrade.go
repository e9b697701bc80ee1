package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// kindsTime bounds the applying of the kinds.
	kindsTime = 2 * time.Minute
	askEvery  = time.Second
)

// Upgrade brings one release to ours.
type Upgrade struct {
	API                client.Client
	Namespace, Release string
	// Ours is the release to come to.
	Ours string
	// Kinds has the definitions in crds/.
	Kinds fs.FS
	// Helm rolls the release; nil: somebody else does.
	Helm *Helm
	// DryRun changes nothing.
	DryRun bool
	// Patience is how long everything may take to roll.
	Patience time.Duration
	Out      io.Writer
}

var (
	// ErrAgainst: something is against it, which is said, and nothing was touched.
	ErrAgainst = errors.New("nothing was touched")
	// ErrUnfinished: it was begun, and is not whole.
	ErrUnfinished = errors.New("the upgrade was begun and is not finished")
)

func (u *Upgrade) say(format string, args ...any) { fmt.Fprintf(u.Out, format+"\n", args...) }

// Run says what there is, does it, and says what it did. Other errors than the two above mean
// that something could not be asked, and that nothing was touched.
func (u *Upgrade) Run(ctx context.Context) error {
	p, err := u.look(ctx)
	if err != nil {
		return err
	}
	for _, line := range p.tell(u.Ours) {
		u.say("%s", line)
	}
	if against := p.against(u.Ours); len(against) > 0 {
		u.say("Against the upgrade:")
		for _, line := range against {
			u.say("  %s", line)
		}
		return ErrAgainst
	}
	if u.DryRun {
		u.say("Nothing is against it, and nothing was changed.")
		return nil
	}
	if err := u.roll(ctx, p); err != nil {
		return fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return nil
}

func (u *Upgrade) roll(ctx context.Context, p *Picture) error {
	began := time.Now()
	applying, cancel := context.WithTimeout(ctx, kindsTime)
	defer cancel()
	if err := ApplyKinds(applying, u.API, u.Kinds, RefuseNewer, prefixed{u.Out, "Kind applied: "}); err != nil {
		return err
	}
	switch {
	case u.Helm != nil:
		if err := u.Helm.Upgrade(ctx); err != nil {
			return fmt.Errorf("%w. The kinds are of %s, which the release that ran before can live with; `helm history %s -n %s` says where Helm is", err, u.Ours, u.Release, u.Namespace)
		}
	case p.Running != u.Ours:
		u.say("The kinds are of %s, and the release that runs is %s still, which goes on. Have it rolled by whatever keeps it, such as a commit that", u.Ours, p.Running)
		u.say("Flux or Argo CD take, or `helm upgrade %s -n %s …`. Then run this again: it waits until everything has rolled.", u.Release, u.Namespace)
		return nil
	}
	if err := u.watch(ctx); err != nil {
		return err
	}
	return u.sum(ctx, time.Since(began))
}

// watch waits until the service and the gateways are of one image and serve.
func (u *Upgrade) watch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, u.Patience)
	defer cancel()
	told := map[string]bool{}
	for {
		waits, err := u.waits(ctx, told)
		switch {
		case err == nil && len(waits) == 0:
			return nil
		case err != nil && ctx.Err() == nil:
			waits = []string{err.Error()} // the API server may be away for a moment
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s still: %s. `helm rollback %s -n %s` goes back (docs/upgrade.md)", u.Patience, strings.Join(waits, "; "), u.Release, u.Namespace)
		case <-time.After(askEvery):
		}
	}
}

// waits says what is not as it should be, and tells once of each what is.
func (u *Upgrade) waits(ctx context.Context, told map[string]bool) (waits []string, err error) {
	d, err := u.service(ctx)
	if err != nil {
		return nil, err
	}
	service := workload(d)
	tell := func(what string, w Workload) {
		if w.Waits != "" {
			waits = append(waits, fmt.Sprintf("%s %s: %s", what, w, w.Waits))
			return
		}
		if name := what + " " + w.String(); !told[name] {
			told[name] = true
			u.say("Rolled out: %s", name)
		}
	}
	if d.Labels[labelVersion] != u.Ours {
		service.Waits = "is of " + d.Labels[labelVersion]
	}
	tell("service", service)
	if service.Waits != "" {
		return waits, nil // it rolls the gateways
	}
	gateways, err := u.gateways(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range gateways {
		if g.Image != service.Image && !g.Own && g.Waits == "" {
			g.Waits = "has the image " + g.Image + " still"
		}
		tell("gateway", g)
	}
	return waits, nil
}

// sum says what is there now.
func (u *Upgrade) sum(ctx context.Context, took time.Duration) error {
	d, err := u.service(ctx)
	if err != nil {
		return err
	}
	now := &Picture{Agents: map[string]string{}}
	if err := u.pods(ctx, now); err != nil {
		return err
	}
	former := 0
	for _, image := range now.Agents {
		if image != workload(d).Image {
			former++
		}
	}
	u.say("elastichub %s runs in %s, after %s. Of %d kernels that run %d have a former agent until they are parked; %d notebook servers run.",
		u.Ours, u.Namespace, took.Round(time.Second), len(now.Agents), former, now.Notebooks)
	return nil
}

// prefixed writes lines with something before each. Each write is one line.
type prefixed struct {
	to     io.Writer
	prefix string
}

func (p prefixed) Write(line []byte) (int, error) {
	if _, err := io.WriteString(p.to, p.prefix); err != nil {
		return 0, err
	}
	return p.to.Write(line)
}
