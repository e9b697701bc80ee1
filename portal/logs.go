package portal

import (
	"context"
	"io"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/portal/holdings"
)

const (
	// logTime is how long a node may take to tell a log.
	logTime = 2 * time.Second
	// maxLogRead bounds what is read of the last lines, which can be long.
	maxLogRead = 1 << 20
	// What all readers of this replica together may ask for, in a second and at once: each
	// is a call of the API server to a node.
	logsPerSecond = 10
	logsAtOnce    = 20
)

// LogReader opens the last lines of what a container of a Pod wrote. Its errors are those
// of the API server.
type LogReader func(ctx context.Context, pod, container string) (io.ReadCloser, error)

// PodLogs reads logs of a namespace by the API server.
func PodLogs(config *rest.Config, namespace string) (LogReader, error) {
	own := rest.CopyConfig(config)
	own.RateLimiter, own.QPS, own.Burst = nil, logsPerSecond, logsAtOnce
	api, err := corev1client.NewForConfig(own)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, pod, container string) (io.ReadCloser, error) {
		return api.Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{
			Container: container, TailLines: ptr.To[int64](holdings.MostLogLines), LimitBytes: ptr.To[int64](maxLogRead),
		}).Stream(ctx)
	}, nil
}

// logsOf are the last lines of the present Pod of a kernel or a server. What cannot be
// read says so in its place.
func (p *Portal) logsOf(r *request, podName string) ([]holdings.Log, error) {
	pod := &corev1.Pod{}
	found, err := p.find(r, podName, pod)
	if err != nil {
		return nil, err
	}
	if !found {
		return []holdings.Log{{Lines: []string{}, Missing: holdings.LogGone}}, nil
	}
	names := holdings.LogContainers(pod)
	ctx, cancel := context.WithTimeout(r.Context(), logTime)
	defer cancel()
	read := make(chan holdings.Log, len(names))
	for _, name := range names {
		go func() { read <- p.readLog(ctx, r, pod.Name, name) }()
	}
	logs := make([]holdings.Log, len(names))
	for range names {
		one := <-read
		logs[slices.Index(names, one.Container)] = one
	}
	return logs, nil
}

func (p *Portal) readLog(ctx context.Context, r *request, pod, container string) holdings.Log {
	one := holdings.Log{Container: container, Lines: []string{}}
	text, err := p.readEnd(ctx, pod, container)
	switch {
	case err == nil:
		one.Lines, one.Cut = holdings.LastLines(text)
		one.Cut = one.Cut || len(text) == maxLogRead
	case apierrors.IsNotFound(err):
		one.Missing = holdings.LogGone
	case apierrors.IsBadRequest(err):
		one.Missing = holdings.LogWaiting
	default:
		one.Missing = holdings.LogSilent
		p.deps.Log.WarnContext(r.Context(), "no log of a container", "request", r.id, "pod", pod, "container", container, "error", err)
	}
	return one
}

func (p *Portal) readEnd(ctx context.Context, pod, container string) ([]byte, error) {
	stream, err := p.deps.Logs(ctx, pod, container)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return io.ReadAll(io.LimitReader(stream, maxLogRead))
}

func (p *Portal) logOfKernel(r *request) error {
	o, _, _, err := p.kernelOf(r)
	if err != nil {
		return err
	}
	return p.answerLog(r, o.Status.PodName)
}

func (p *Portal) logOfServer(r *request) error {
	o, _, _, err := p.serverOf(r)
	if err != nil {
		return err
	}
	return p.answerLog(r, o.Status.PodName)
}

func (p *Portal) answerLog(r *request, pod string) error {
	logs, err := p.logsOf(r, pod)
	if err != nil {
		return err
	}
	return r.json(items[holdings.Log]{logs})
}
