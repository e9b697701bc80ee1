package gather

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/skew"
)

// TestWhoIsAskedForReleases: Pods of the service and of its gateways that are ready, in all namespaces of the
// release, each over HTTP. One of the former release has no such page, and one that cannot be
// asked is not checked.
func TestWhoIsAskedForReleases(t *testing.T) {
	t.Parallel()
	seen := skew.NewSeen(skew.Gateway, skew.GatewayProtocol, time.Now)
	seen.Note(skew.Wheel, "lab/nb", skew.Told{Release: "9.9.0"})
	mux := http.NewServeMux()
	mux.Handle(skew.Path, seen)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	old := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(old.Close)
	address := map[string]string{"gateway": server.Listener.Addr().String(), "service": old.Listener.Addr().String()}

	pod := func(namespace, name string, ready corev1.ConditionStatus, labels map[string]string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		return p
	}
	service := map[string]string{"app.kubernetes.io/name": "elastichub", "app.kubernetes.io/component": "service", "app.kubernetes.io/instance": "r"}
	gateway := map[string]string{v1alpha1.LabelComponent: v1alpha1.ComponentGateway, v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	g := &gatherer{
		api: fake.NewClientBuilder().WithScheme(scheme).WithObjects(
			pod("hub", "service", corev1.ConditionTrue, service), pod("hub", "starting", corev1.ConditionFalse, service),
			pod("lab", "gateway", corev1.ConditionTrue, gateway), pod("hub", "lost", corev1.ConditionTrue, gateway),
			pod("elsewhere", "other", corev1.ConditionTrue, gateway), pod("hub", "notebook", corev1.ConditionTrue, nil),
		).Build(),
		values:  map[string]any{"watchNamespaces": []any{"lab"}},
		picture: doctor.Picture{Release: "r", Namespace: "hub"},
	}
	g.ask = func(ctx context.Context, pod *corev1.Pod, port int32, path string) (int, []byte, error) {
		at, known := address[pod.Name]
		if !known {
			return 0, nil, errors.New("no port-forward")
		}
		assert.Equal(t, map[string]int32{"service": servicePort, "gateway": gatewayPort}[pod.Name], port)
		host, number, err := net.SplitHostPort(at)
		require.NoError(t, err)
		actual, err := strconv.Atoi(number)
		require.NoError(t, err)
		there := pod.DeepCopy()
		there.Status.PodIP = host
		return podAsker{inside: true}.ask(ctx, there, int32(actual), path)
	}
	g.speakers(t.Context())
	require.Len(t, g.picture.Speakers, 2)
	assert.Equal(t, doctor.Speaker{Pod: "hub/service", Part: skew.Service}, g.picture.Speakers[0])
	assert.Equal(t, "lab/gateway", g.picture.Speakers[1].Pod)
	assert.Equal(t, skew.Release(), g.picture.Speakers[1].Said.Release)
	assert.Equal(t, map[skew.Part]map[string]int{skew.Wheel: {"9.9.0": 1}}, g.picture.Speakers[1].Said.Neighbours)
	require.Len(t, g.picture.Unread, 1)
	assert.Contains(t, g.picture.Unread[0].Why, "hub/lost")
	var checks []string
	for _, problem := range doctor.Diagnose(g.picture).Problems {
		checks = append(checks, problem.Check)
	}
	assert.Contains(t, checks, "versions")
}
