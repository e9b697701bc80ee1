package protocol

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/skew"
)

// MaxBody bounds what a caller reads of an answer, in bytes: a State holds a
// kernel_info_reply.
const MaxBody = 1 << 20

// CallTimeout bounds one of the calls that an agent answers at once: all but
// restart and the WebSocket.
const CallTimeout = 2 * time.Second

// URL is that of a call, with scheme https or, for PathChannels, wss.
func URL(scheme, ip string, port int, path string, query url.Values) string {
	u := url.URL{Scheme: scheme, Host: net.JoinHostPort(ip, strconv.Itoa(port)), Path: path, RawQuery: query.Encode()}
	return u.String()
}

// Header is what every call has to say, and who it comes from.
func Header(secret keys.Secret) http.Header {
	return http.Header{"Authorization": {secret.Authorization()}, skew.Header: {skew.Here(Version).String()}}
}

// Dial makes a TCP connection, as net.Dialer.DialContext.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Client trusts the agent that holds the secret and no other. It keeps no
// connection after an answer, since an agent is called rarely, and its address
// may soon be another Pod's.
func Client(secret keys.Secret, dial Dial, handshake time.Duration) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     secret.ClientTLS(),
		TLSHandshakeTimeout: handshake,
		DisableKeepAlives:   true,
	}}
}
