package agent

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"net"
	"sync"

	"github.com/elastichub/elastichub/kernels/wire"
)

// connection is a Jupyter connection file
// (jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files).
// It is made once: ports and key survive restarts of the kernel.
type connection struct {
	Transport       string `json:"transport"`
	IP              string `json:"ip"`
	Shell           int    `json:"shell_port"`
	IOPub           int    `json:"iopub_port"`
	Stdin           int    `json:"stdin_port"`
	Control         int    `json:"control_port"`
	Heartbeat       int    `json:"hb_port"`
	Key             string `json:"key"`
	SignatureScheme string `json:"signature_scheme"`
	KernelName      string `json:"kernel_name"`
}

func newConnection(kernelName string) (connection, error) {
	ports, err := freePorts(5)
	if err != nil {
		return connection{}, err
	}
	return connection{
		Transport: "tcp", IP: loopback,
		Shell: ports[0], IOPub: ports[1], Stdin: ports[2], Control: ports[3], Heartbeat: ports[4],
		Key: rand.Text() + rand.Text(), SignatureScheme: wire.SignatureScheme, KernelName: kernelName,
	}, nil
}

// release gives the ports back, when no process of the kernel is left that listens on them.
func (c *connection) release() {
	for _, port := range []int{c.Shell, c.IOPub, c.Stdin, c.Control, c.Heartbeat} {
		promised.Delete(port)
	}
}

const loopback = "127.0.0.1"

func (c *connection) endpoint(port int) string {
	return fmt.Sprintf("%s://%s:%d", c.Transport, c.IP, port)
}

// Ports are taken from below the range from which Linux serves ephemeral
// ports (32768 unless changed): there no outgoing connection of the Pod can
// take one between two processes of the kernel, and a dial to a port on which
// nobody listens yet cannot connect to itself.
const lowestPort, highestPort = 20000, 32767

// promised are the ports that this process has given away and not got back. They look free
// until a kernel listens on them, which matters where several agents share a process.
var promised sync.Map

func freePorts(n int) ([]int, error) {
	var ports []int
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	var last error
	for range 100 * n {
		offset, err := rand.Int(rand.Reader, big.NewInt(highestPort-lowestPort+1))
		if err != nil {
			return nil, err
		}
		port := lowestPort + int(offset.Int64())
		if _, given := promised.LoadOrStore(port, true); given {
			continue // to listen there for a moment would be in the way of the kernel that is to
		}
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", loopback, port))
		if err != nil {
			promised.Delete(port)
			last = err
			continue
		}
		held = append(held, l)
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("agent: no free ports on %s: %w", loopback, last)
}
