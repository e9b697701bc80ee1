package clusterfault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	pods := schema.GroupResource{Resource: "pods"}
	for name, c := range map[string]struct {
		err          error
		passes, lost bool
	}{
		"timeout":           {apierrors.NewTimeoutError("etcdserver: request timed out", 0), true, false},
		"server timeout":    {apierrors.NewServerTimeout(pods, "create", 1), true, false},
		"too many requests": {apierrors.NewTooManyRequests("later", 1), true, false},
		"unavailable":       {apierrors.NewServiceUnavailable("starting"), true, false},
		"internal":          {apierrors.NewInternalError(errors.New("failed calling webhook")), true, false},
		"conflict":          {apierrors.NewConflict(pods, "a", errors.New("changed")), false, true},
		"exists":            {apierrors.NewAlreadyExists(pods, "a"), false, true},
		"not found":         {apierrors.NewNotFound(pods, "a"), false, false},
		"forbidden":         {apierrors.NewForbidden(pods, "a", errors.New("no right")), false, false},
		"invalid":           {apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "a", nil), false, false},
		"deadline":          {context.DeadlineExceeded, false, false},
		"cut off":           {io.ErrUnexpectedEOF, true, false},
		"something else":    {errors.New("no such channel"), false, false},
		"none":              {nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.err
			if err != nil {
				err = fmt.Errorf("write notebook: %w", err)
			}
			assert.Equal(t, c.passes, Passes(err))
			assert.Equal(t, c.lost, Lost(err))
		})
	}
}

// TestWays: what client-go makes of servers that cannot be reached, answer nothing, or break off.
func TestWays(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	for name, address := range map[string]string{
		"nobody listens": "http://" + closed.Addr().String(),
		"hangs up": answering(t, func(w http.ResponseWriter) {
			connection, _, err := w.(http.Hijacker).Hijack()
			if assert.NoError(t, err) {
				assert.NoError(t, connection.Close())
			}
		}),
		"breaks off": answering(t, func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"kind": "Po`)
		}),
		"a proxy's": answering(t, func(w http.ResponseWriter) { http.Error(w, "bad gateway", http.StatusBadGateway) }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clients, err := kubernetes.NewForConfig(&rest.Config{Host: address, QPS: -1})
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err = clients.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
			require.Error(t, err)
			assert.True(t, Passes(err), "%T: %v", err, err)
		})
	}
}

func answering(t *testing.T, answer func(http.ResponseWriter)) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
	t.Cleanup(server.Close)
	return server.URL
}
