package renew

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/rotation"
)

// fieldManager is who writes.
const fieldManager = "elastichub-rotate"

const (
	// nudgeEvery is how often Pods that have not read a Secret yet are nudged.
	nudgeEvery = 5 * time.Second
	askEvery   = time.Second
)

// labelChart is on a Secret that is in the manifest of the release, as charts of 0.1.0 made them.
// Without it the chart leaves the Secret out, and Helm writes no former value over a rotated one.
const labelChart = "helm.sh/chart"

// Ask says what a reader has read: a mark for each secret that it knows.
type Ask func(context.Context, Reader) (map[string]string, error)

// Renewal is one change of one secret.
type Renewal struct {
	Site   Site
	Secret Secret
	// Gateway is whose key is changed, NAME or NAMESPACE/NAME, where each gateway has one.
	Gateway string
	// CutOff has the former count no longer at once.
	CutOff bool
	// DryRun changes nothing.
	DryRun bool
	// FormerFor is how long the former counts.
	FormerFor time.Duration
	// Patience is how long readers may take to read a step.
	Patience time.Duration
	Ask      Ask
	Out      io.Writer
	Now      func() time.Time
}

// ErrReaders: some Pods have not read the new value in time.
var ErrReaders = errors.New("not all readers have the new value")

// Run says what it will do and what that costs, does it, and says what it did.
func (r Renewal) Run(ctx context.Context) error {
	d, err := r.Site.deployment(ctx)
	if err != nil {
		return err
	}
	if r.Secret.ofGateway {
		if d, err = r.Site.gateway(ctx, d, r.Gateway); err != nil {
			return err
		}
	}
	found, err := r.Site.find(ctx, d, r.Secret)
	if err != nil {
		return err
	}
	values, err := rotation.Parse(r.Secret.key, func(key string) string { return string(found.Data[key]) })
	if err != nil {
		return fmt.Errorf("the Secret %s: %w", found.Name, err)
	}
	if !r.CutOff && values.FormerCounts(r.Now()) && !values.FormerUntil.IsZero() {
		return fmt.Errorf("the value before this one counts until %s, and would be lost: rotate again then, or with --cut-off", values.FormerUntil.Format(time.RFC3339))
	}
	readers, err := r.Site.readers(ctx, d, r.Secret)
	if err != nil {
		return err
	}
	if err := r.checkGateway(ctx, readers); err != nil {
		return err
	}
	if err := r.announce(ctx, d, found, readers); err != nil || r.DryRun {
		return err
	}
	switch {
	case r.Secret.atOnce:
		return r.replaceAtOnce(ctx, d, found)
	case r.CutOff:
		return r.cutOff(ctx, d, found)
	default:
		return r.renew(ctx, d, found, values)
	}
}

func (r Renewal) say(format string, args ...any) { fmt.Fprintf(r.Out, format+"\n", args...) }

// announce says what will be done.
func (r Renewal) announce(ctx context.Context, d *appsv1.Deployment, found *corev1.Secret, readers []Reader) error {
	will := "%s, in the Secret %s: %s."
	if r.DryRun {
		will = "Nothing is changed. " + will
	}
	r.say(will, strings.ToUpper(r.Secret.What[:1])+r.Secret.What[1:], found.Name, r.plan(readers))
	if r.CutOff || r.Secret.atOnce {
		r.say("What that costs: %s", r.Secret.Cost)
	}
	if found.Labels[labelChart] != "" {
		r.say("Helm's revisions have the value of now, since a chart of 0.1.0 has made the Secret: run helm upgrade once after this, and no helm rollback to a revision of before it.")
	}
	if r.Secret.ofGateway {
		return r.announceKernels(ctx, d)
	}
	if !r.Secret.gateways {
		return nil
	}
	notebooks, deaf, err := r.Site.notebooks(ctx, d)
	if err != nil {
		return err
	}
	switch {
	case len(notebooks) == 0:
		r.say("No notebook server runs.")
	case deaf == 0:
		r.say("Notebook servers that run: %d, all of which read their token again.", len(notebooks))
	case r.CutOff:
		r.say("Notebook servers that run: %d. %d of them do not read their token again and have to be restarted.", len(notebooks), deaf)
	default:
		r.say("Notebook servers that run: %d. %d of them do not read their token again and have to be restarted before the former key's time is over.", len(notebooks), deaf)
	}
	return nil
}

func (r Renewal) plan(readers []Reader) string {
	switch {
	case r.Secret.atOnce:
		return "a new value takes its place at once"
	case r.CutOff:
		return fmt.Sprintf("a new value takes its place, and no other counts any more as soon as the %d processes that read it have it", len(readers))
	default:
		return fmt.Sprintf("a new value is put beside it, takes its place when the %d processes that read it have it, and the former counts for %s", len(readers), words(r.FormerFor))
	}
}

// words is a time in days or hours, where it is some of these.
func words(d time.Duration) string {
	switch {
	case d >= 2*day && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	default:
		return d.String()
	}
}

// renew brings the new value in beside the former. A renewal that was broken off goes on
// with the value that it has made.
func (r Renewal) renew(ctx context.Context, d *appsv1.Deployment, found *corev1.Secret, values rotation.Values) error {
	next, step := values.Next, values.Mark
	if next == "" {
		next, step = r.Secret.make(), mark()
		var err error
		if found, err = r.write(ctx, found, map[string]string{rotation.KeyNext: next, rotation.KeyMark: step}); err != nil {
			return err
		}
		r.say("The new value is in the Secret.")
	} else {
		r.say("The Secret has a new value already, of a rotation that did not end: that is taken.")
	}
	if err := r.await(ctx, d, step); err != nil {
		return fmt.Errorf("%w; the former is in its place and works as before: run this again", err)
	}
	until, step := r.Now().Add(r.FormerFor).UTC().Truncate(time.Second), mark()
	if _, err := r.write(ctx, found, map[string]string{
		r.Secret.key: next, rotation.KeyFormer: values.Current, rotation.KeyFormerUntil: until.Format(time.RFC3339), rotation.KeyNext: "", rotation.KeyMark: step,
	}); err != nil {
		return err
	}
	r.say("The new value is in the place of the former, which counts until %s.", until.Format(time.RFC3339))
	if err := r.await(ctx, d, step); err != nil {
		return fmt.Errorf("%w; both values count, and each will read it by itself", err)
	}
	if r.Secret.ofGateway {
		if err := r.awaitAgents(ctx, d, next, step); err != nil {
			return fmt.Errorf("%w; both keys count, and their agents will read it by themselves", err)
		}
	}
	if r.Secret.After != "" {
		r.say("%s", r.Secret.After)
	}
	return nil
}

// cutOff has a new value count alone.
func (r Renewal) cutOff(ctx context.Context, d *appsv1.Deployment, found *corev1.Secret) error {
	step, began, value := mark(), r.Now(), r.Secret.make()
	if _, err := r.write(ctx, found, map[string]string{
		r.Secret.key: value, rotation.KeyNext: "", rotation.KeyFormer: "", rotation.KeyFormerUntil: "", rotation.KeyMark: step,
	}); err != nil {
		return err
	}
	r.say("The new value is in the Secret, and no other.")
	if err := r.await(ctx, d, step); err != nil {
		return fmt.Errorf("%w: there the former still counts; delete those Pods to cut it off now", err)
	}
	if r.Secret.ofGateway {
		if err := r.awaitAgents(ctx, d, value, step); err != nil {
			return fmt.Errorf("%w: there the former still counts; delete those Pods to cut it off now", err)
		}
	}
	r.say("The former counts no more, %s after it was taken away.", r.Now().Sub(began).Round(time.Second))
	if !r.Secret.gateways {
		return nil
	}
	notebooks, _, err := r.Site.notebooks(ctx, d)
	if err != nil {
		return err
	}
	for i := range notebooks { // so that servers read their new tokens at once
		if err := r.nudge(ctx, Reader{Namespace: notebooks[i].Namespace, Pod: notebooks[i].Name}, step); err != nil {
			return err
		}
	}
	return nil
}

// replaceAtOnce is for the token of metrics, which has its hash beside it.
func (r Renewal) replaceAtOnce(ctx context.Context, d *appsv1.Deployment, found *corev1.Secret) error {
	value := r.Secret.make()
	if _, err := r.write(ctx, found, map[string]string{r.Secret.key: value, "sha256": sha256Hex(value)}); err != nil {
		return err
	}
	r.say("The new value is in the Secret.")
	notebooks, _, err := r.Site.notebooks(ctx, d)
	if err != nil {
		return err
	}
	for i := range notebooks {
		if err := r.nudge(ctx, Reader{Namespace: notebooks[i].Namespace, Pod: notebooks[i].Name}, mark()); err != nil {
			return err
		}
	}
	return nil
}

// write changes a Secret over the version that was read; an empty value takes a key away.
func (r Renewal) write(ctx context.Context, over *corev1.Secret, changes map[string]string) (*corev1.Secret, error) {
	data := map[string]any{}
	for key, value := range changes {
		if value == "" {
			data[key] = nil
			continue
		}
		data[key] = []byte(value)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": over.UID, "resourceVersion": over.ResourceVersion, "labels": map[string]any{labelChart: nil},
	}, "data": data})
	if err != nil {
		return nil, err
	}
	written, err := r.Site.API.CoreV1().Secrets(over.Namespace).Patch(ctx, over.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) {
		return nil, fmt.Errorf("somebody else changes the Secret %s at the same time: run this again", over.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("write the Secret %s: %w", over.Name, err)
	}
	return written, nil
}

// await waits until every reader has read a step. Those that start meanwhile are among them.
func (r Renewal) await(ctx context.Context, d *appsv1.Deployment, step string) error {
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	nudged := map[Reader]time.Time{}
	for {
		readers, err := r.Site.readers(ctx, d, r.Secret)
		if err != nil {
			return err
		}
		var without []string
		for _, reader := range readers {
			seen, err := r.Ask(ctx, reader)
			if err == nil && seen[string(r.Secret.Name)] == step {
				continue
			}
			without = append(without, describe(reader, err))
			if r.Now().Sub(nudged[reader]) >= nudgeEvery {
				nudged[reader] = r.Now()
				if err := r.nudge(ctx, reader, fmt.Sprintf("%s-%d", step, r.Now().Unix())); err != nil {
					return err
				}
			}
		}
		if len(without) == 0 && len(readers) > 0 {
			r.say("All %d processes that read it have it.", len(readers))
			return nil
		}
		select {
		case <-ctx.Done():
			if len(readers) == 0 {
				return fmt.Errorf("%w: none runs", ErrReaders)
			}
			return fmt.Errorf("%w: %s", ErrReaders, strings.Join(without, ", "))
		case <-time.After(askEvery):
		}
	}
}

// ErrOld: a process of a former release, which does not say what it has read.
var ErrOld = errors.New("it is of a former release and takes one value only")

func describe(reader Reader, err error) string {
	switch {
	case err == nil:
		return reader.String() + " (it has the one before)"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return reader.String()
	default:
		return fmt.Sprintf("%s (%v)", reader, err)
	}
}

// nudge has the kubelet bring a Pod's mounted files up to date now.
func (r Renewal) nudge(ctx context.Context, reader Reader, text string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1alpha1.AnnotationSecretsRead: text}}})
	if err != nil {
		return err
	}
	_, err = r.Site.API.CoreV1().Pods(reader.Namespace).Patch(ctx, reader.Pod, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("have the Pod %s read the Secret again: %w", reader, err)
	}
	return nil
}
