package consoleapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

const loopback = "127.0.0.1"

// Forward asks the API server to lead an address of this machine to a port of a Pod, until it is
// closed: by WebSocket, and by SPDY where it, or a proxy before it, knows no other.
func Forward(ctx context.Context, config *rest.Config, namespace, pod string, port int32) (address string, closed func(), err error) {
	api, err := corev1client.NewForConfig(config)
	if err != nil {
		return "", nil, err
	}
	at := api.RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return "", nil, err
	}
	webSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, config)
	if err != nil {
		return "", nil, err
	}
	older := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	dialer := portforward.NewFallbackDialerForStreaming(webSocket, older, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	ctx, stop := context.WithCancel(ctx)
	ready, done := make(chan struct{}), make(chan struct{})
	var ended error // why it is done
	forwarder, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer, []string{loopback}, []string{fmt.Sprintf("0:%d", port)}, ready, io.Discard, io.Discard)
	if err != nil {
		stop()
		return "", nil, err
	}
	go func() {
		defer close(done)
		ended = forwarder.ForwardPorts()
	}()
	select {
	case <-ready:
	case <-done:
		stop()
		return "", nil, cmp.Or(ended, errors.New("it has ended"))
	case <-ctx.Done(): // a dial that hangs ends with the process
		stop()
		return "", nil, ctx.Err()
	}
	closed = func() {
		stop()
		<-done
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		closed()
		return "", nil, err
	}
	return net.JoinHostPort(loopback, strconv.Itoa(int(ports[0].Local))), closed, nil
}
