package gateway

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/tracing"
)

// maxSession is the longest session id the agent takes, in bytes.
const maxSession = 256

// maxEpoch is the longest name of an agent process, in bytes.
const maxEpoch = 64

// channels accepts a kernel's WebSocket, whatever the kernel's phase, and
// serves it until it ends.
func (s *Server) channels(w http.ResponseWriter, c *call) error {
	query := c.URL.Query()
	session := query.Get("session_id")
	if len(session) > maxSession {
		return fail(kindInvalid, "session_id is longer than 256 bytes.")
	}
	patience := s.timing.infoPatience
	if session == "" { // such a client cannot resume, and is no browser
		session, patience = uuid.NewString(), s.timing.quickInfo
	}
	from, err := resumeFrom(query)
	if err != nil {
		return err
	}
	sub := s.watch.subscribe(s.store.key(c.id, c.PathValue("id")))
	defer sub.close()
	k, err := s.store.kernel(c.Context(), c.id, c.PathValue("id"))
	if err != nil {
		return err
	}
	sub.bind(k, func(k *v1alpha1.JupyterKernel) bool { return s.store.belongs(c.id, k) })
	if !s.enter() {
		return fail(kindUnavailable, "The gateway is stopping.")
	}
	defer s.sockets.Done()
	if err := s.activity.open(k.UID, c.id.owner()); err != nil {
		return err
	}
	defer s.activity.close(k.UID, c.id.owner())

	conn, err := websocket.Accept(w, c.Request, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocolResume, wire.SubprotocolV1}, InsecureSkipVerify: s.allowsOrigin(c.Request),
	})
	if err != nil {
		s.logger(c).Debug("socket refused", "error", err)
		return nil // Accept has answered
	}
	conn.SetReadLimit(s.cfg.maxFrame())
	client := newClientConn(conn, s.metrics)
	gauge := s.metrics.sockets.WithLabelValues(string(client.framing))
	gauge.Inc()
	defer gauge.Dec()
	log := s.logger(c).With("kernel", k.Name, "owner", c.id.owner())
	sock := &socket{
		srv: s, log: log, identity: c.id, token: c.token, session: session, uid: k.UID, patience: patience,
		sub: sub, client: client, pending: newPendingRequests(s.cfg.bounds.heldBytes, s.memory, c.id.owner()), notices: &cellNotices{client: client},
		from:  from,
		ready: make(chan struct{}, 1), kick: make(chan struct{}, 1), woken: make(chan error, 1),
	}
	sock.spec = s.kernelSpecOf(c.Context(), k)
	log.Debug("socket opened", "framing", string(client.framing))
	end := sock.run(tracing.WithRequest(s.serving, c.requestID))
	s.metrics.endSockets.WithLabelValues(string(end)).Inc()
	log.Debug("socket closed", "reason", string(end))
	return nil
}

// kernelSpecOf is a kernel's kernelspec, or nil if it cannot be had.
func (s *Server) kernelSpecOf(ctx context.Context, k *v1alpha1.JupyterKernel) *v1alpha1.JupyterKernelSpec {
	ks := &v1alpha1.JupyterKernelSpec{}
	if s.cache.Get(ctx, types.NamespacedName{Namespace: s.cfg.Namespace, Name: k.Spec.KernelSpec}, ks) != nil {
		return nil
	}
	return ks
}

// resumeFrom reads where a client of the resume protocol ended.
func resumeFrom(query url.Values) (resume, error) {
	if !query.Has("resume") {
		return resume{}, nil
	}
	n, err := strconv.ParseUint(query.Get("resume"), 10, 64)
	if err != nil {
		return resume{}, fail(kindInvalid, "resume must be a number from 0 to 2^64-1.")
	}
	epoch := query.Get("epoch")
	if epoch == "" || len(epoch) > maxEpoch {
		return resume{}, fail(kindInvalid, "resume needs an epoch of at most 64 bytes.")
	}
	return resume{epoch: epoch, delivered: n, acked: n}, nil
}
