package gateway

import (
	"net/http"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

// maxSession is the longest session id the agent takes, in bytes.
const maxSession = 256

// channels accepts a kernel's WebSocket, whatever the kernel's phase, and
// serves it until it ends.
func (s *Server) channels(w http.ResponseWriter, c *call) error {
	session := c.URL.Query().Get("session_id")
	if len(session) > maxSession {
		return fail(kindInvalid, "session_id is longer than 256 bytes.")
	}
	patience := s.timing.infoPatience
	if session == "" { // such a client cannot resume, and is no browser
		session, patience = uuid.NewString(), s.timing.quickInfo
	}
	sub := s.watch.subscribe(c.PathValue("id"))
	defer sub.close()
	k, err := s.store.kernel(c.Context(), c.id, c.PathValue("id"))
	if err != nil {
		return err
	}
	sub.seed(k)
	if !s.enter() {
		return fail(kindUnavailable, "The gateway is stopping.")
	}
	defer s.sockets.Done()
	if err := s.activity.open(k.Name, c.id.owner()); err != nil {
		return err
	}
	defer s.activity.close(k.Name, c.id.owner())

	conn, err := websocket.Accept(w, c.Request, &websocket.AcceptOptions{Subprotocols: []string{wire.SubprotocolV1}})
	if err != nil {
		s.log.Debug("socket refused", "request", c.requestID, "error", err)
		return nil // Accept has answered
	}
	conn.SetReadLimit(s.cfg.MaxFrameBytes)
	session, leave := s.sessions.enter(s.serving, sessionKey{kernel: k.Name, owner: c.id.owner(), session: session}, conn)
	defer leave()
	client := newClientConn(conn, s.metrics)
	gauge := s.metrics.sockets.WithLabelValues(string(client.framing))
	gauge.Inc()
	defer gauge.Dec()
	log := s.log.With("kernel", k.Name, "owner", c.id.owner(), "request", c.requestID)
	sock := &socket{
		srv: s, log: log, identity: c.id, token: c.token, session: session, id: k.Name, patience: patience,
		sub: sub, client: client, ledger: newLedger(s.cfg.HeldBytes, s.metrics.held), tell: &teller{client: client},
		ready: make(chan struct{}, 1), kick: make(chan struct{}, 1), woken: make(chan error, 1),
	}
	if ks := (&v1alpha1.JupyterKernelSpec{}); s.cache.Get(c.Context(), types.NamespacedName{Namespace: s.cfg.Namespace, Name: k.Spec.KernelSpec}, ks) == nil {
		sock.spec = ks
	}
	sock.infoKey = infoKey(k.Spec.KernelSpec, sock.spec)
	log.Debug("socket opened", "framing", string(client.framing))
	end := sock.run(s.serving)
	s.metrics.endSockets.WithLabelValues(string(end)).Inc()
	log.Debug("socket closed", "reason", string(end))
	return nil
}
