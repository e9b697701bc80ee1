package gather

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/plugin/consoleapi"
	"github.com/elastichub/elastichub/skew"
)

const (
	// speakersAtOnce bounds how many Pods are asked at a time.
	speakersAtOnce = 8
	// The ports at which processes say which releases they speak with.
	servicePort = 8080
	gatewayPort = 9090
	// versionsBytes bounds what is read of an answer.
	versionsBytes = 64 << 10
)

// speakers asks the processes of the service and of the gateways.
func (g *gatherer) speakers(ctx context.Context) {
	service := client.MatchingLabels{"app.kubernetes.io/name": "elastichub", "app.kubernetes.io/component": "service", "app.kubernetes.io/instance": g.picture.Release}
	gateways := client.MatchingLabels{v1alpha1.LabelComponent: v1alpha1.ComponentGateway, v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
	free := make(chan struct{}, speakersAtOnce)
	var wg sync.WaitGroup
	ask := func(part skew.Part, port int32, options ...client.ListOption) {
		var pods corev1.PodList
		if err := g.api.List(ctx, &pods, options...); err != nil {
			g.unread("pods", err)
			return
		}
		for i := range pods.Items {
			if pod := &pods.Items[i]; isReady(pod) {
				free <- struct{}{}
				wg.Go(func() {
					defer func() { <-free }()
					g.speaker(ctx, part, pod, port)
				})
			}
		}
	}
	ask(skew.Service, servicePort, service, client.InNamespace(g.picture.Namespace))
	for _, namespace := range append([]string{g.picture.Namespace}, watched(g.values, g.picture.Namespace)...) {
		ask(skew.Gateway, gatewayPort, gateways, client.InNamespace(strings.TrimPrefix(namespace, namespaces.Everywhere)))
	}
	wg.Wait()
	g.set(func(p *doctor.Picture) {
		slices.SortFunc(p.Speakers, func(a, b doctor.Speaker) int { return strings.Compare(a.Pod, b.Pod) })
		p.Speakers = slices.CompactFunc(p.Speakers, func(a, b doctor.Speaker) bool { return a.Pod == b.Pod })
	})
}

func isReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func (g *gatherer) speaker(ctx context.Context, part skew.Part, pod *corev1.Pod, port int32) {
	speaker := doctor.Speaker{Pod: pod.Namespace + "/" + pod.Name, Part: part}
	status, body, err := g.ask(ctx, pod, port, skew.Path)
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal(body, &speaker.Said)
	}
	if err != nil {
		g.unread("versions", fmt.Errorf("the Pod %s cannot be asked: %w", speaker.Pod, err))
		return
	}
	g.set(func(p *doctor.Picture) { p.Speakers = append(p.Speakers, speaker) })
}

// podAsker asks Pods.
type podAsker struct {
	config *rest.Config
	inside bool
}

func (a podAsker) ask(ctx context.Context, pod *corev1.Pod, port int32, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	address, closed := net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port))), func() {}
	if !a.inside {
		var err error
		if address, closed, err = consoleapi.Forward(ctx, a.config, pod.Namespace, pod.Name, port); err != nil {
			return 0, nil, err
		}
	}
	defer closed()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, versionsBytes))
	return answer.StatusCode, body, err
}
