//go:build e2e

package tamper

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
)

const (
	idleTime = 15 * time.Second
	// parkTime is what taking leave of a kernel may take: shutdown_request, SIGTERM
	// and SIGKILL have 7 s, the kubelet's probe, its grace and its relist 4 s, and the
	// agent waits for two periods of the probe.
	parkTime = 15 * time.Second
	// noise is how late this test may look.
	noise = 2 * time.Second

	startsAtOnce = 4
)

// program is one of programs.yaml.
type program struct {
	Name  string `json:"name"`
	Code  string `json:"code"`
	Until string `json:"until,omitempty"` // deadline, or container: it ends the kernel itself at times
	Open  bool   `json:"open,omitempty"`

	pod   string
	begun time.Time // of the Pod
	done  time.Time // of the program's cell
}

// bench is a release of the chart that the test has for itself.
type bench struct {
	namespace string
	kubectl   string
	gateway   client.Gateway
	longest   time.Duration
}

func (b *bench) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(b.kubectl, append([]string{"-n", b.namespace}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "kubectl %v: %s", args, stderr.String())
	return strings.TrimSpace(string(out))
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{namespace: os.Getenv("TAMPER_NAMESPACE"), kubectl: os.Getenv("KUBECTL")}
	require.NotEmpty(t, b.namespace, "run test/tamper/run.sh")
	b.gateway = client.Gateway{Token: os.Getenv("TAMPER_TOKEN"), URL: "http://" + b.run(t, "get", "service", "default", "-o", "jsonpath={.spec.clusterIP}") + ":8888"}
	seconds, err := time.ParseDuration(os.Getenv("TAMPER_RUN_SECONDS") + "s")
	require.NoError(t, err)
	b.longest = seconds
	return b
}

// begin starts a kernel and runs a program in it.
func (b *bench) begin(t *testing.T, p *program, certificate string) error {
	ctx := context.Background()
	var model struct{ ID string }
	status, err := b.gateway.Call(ctx, "POST", "/api/kernels", map[string]any{"name": "python"}, &model)
	if err != nil || status != 201 {
		return fmt.Errorf("start: status %d: %w", status, err)
	}
	k := &client.Kernel{Gateway: b.gateway, ID: model.ID, Session: uuid.NewString(), Subprotocol: client.SubprotocolResume, AckOdds: 5, Patience: 4 * time.Minute}
	if err := k.Open(ctx); err != nil {
		return err
	}
	defer k.Close()
	if _, err := k.Run(fmt.Sprintf("CERTIFICATE = %q", certificate)); err != nil {
		return err
	}
	p.pod = b.run(t, "get", "jupyterkernel", model.ID, "-o", "jsonpath={.status.podName}")
	created := b.run(t, "get", "pod", p.pod, "-o", "jsonpath={.metadata.creationTimestamp}")
	if p.begun, err = time.Parse(time.RFC3339, created); err != nil {
		return err
	}
	if p.Open {
		_, err := k.Send(wire.Shell, wire.TypeExecuteRequest, map[string]any{"code": p.Code, "allow_stdin": true, "user_expressions": map[string]string{}})
		p.done = time.Now()
		time.Sleep(time.Second)
		return err
	}
	k.Patience = 30 * time.Second // some programs never let their cell end
	cell, err := k.Run(p.Code)
	p.done = time.Now()
	if err != nil || cell.Status != "ok" {
		t.Logf("%s: %v %s %s", p.Name, err, cell.Error, cell.Stderr)
	}
	return nil
}

// pods are those of kernels that still hold what they were given, by name.
func (b *bench) pods(t *testing.T) map[string]corev1.Pod {
	var list corev1.PodList
	require.NoError(t, json.Unmarshal([]byte(b.run(t, "get", "pods", "-l", "component=kernel", "-o", "json")), &list))
	found := map[string]corev1.Pod{}
	for _, pod := range list.Items {
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			found[pod.Name] = pod
		}
	}
	return found
}

// TestOwnersCannotKeepWhatTheyHold, whatever runs in their kernels, also while
// the controllers and the gateway are away.
func TestOwnersCannotKeepWhatTheyHold(t *testing.T) {
	b := setup(t)
	raw, err := os.ReadFile("programs.yaml")
	require.NoError(t, err)
	var programs []*program
	require.NoError(t, yaml.UnmarshalStrict(raw, &programs))
	if only := os.Getenv("TAMPER_ONLY"); only != "" {
		programs = slices.DeleteFunc(programs, func(p *program) bool { return !strings.Contains(p.Name, only) })
	}
	certificate := selfSigned(t)

	var mu sync.Mutex
	last := map[string]time.Time{} // when a Pod was last seen to hold something
	watching, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for watching.Err() == nil {
			seen := b.pods(t)
			mu.Lock()
			for name := range seen {
				last[name] = time.Now()
			}
			mu.Unlock()
			time.Sleep(500 * time.Millisecond)
		}
	}()
	defer func() { stop(); <-watched }()

	var starts errgroup.Group
	starts.SetLimit(startsAtOnce)
	for _, p := range programs {
		starts.Go(func() error {
			err := b.begin(t, p, certificate)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			return nil
		})
	}
	require.NoError(t, starts.Wait())
	away := os.Getenv("TAMPER_AWAY") == "true"
	if away {
		scale := func(n string) { b.run(t, "scale", "deployment", "elastichub", "default", "--replicas="+n) }
		scale("0")
		defer scale("1")
	}
	end := time.Now().Add(b.longest + time.Minute)
	for len(b.pods(t)) > 0 && time.Now().Before(end) {
		time.Sleep(time.Second)
	}
	stop()
	<-watched
	held := time.Duration(0)
	for _, p := range programs {
		allowed := p.done.Add(idleTime + parkTime)
		if p.Until == "deadline" {
			allowed = p.begun.Add(b.longest + parkTime)
		}
		over := max(0, last[p.pod].Sub(allowed)-noise)
		held += over
		t.Logf("%-55s held %4.0f s after its cell, %3.0f s too long", p.Name, last[p.pod].Sub(p.done).Seconds(), over.Seconds())
		assert.Zero(t, over, p.Name)
	}
	t.Logf("%d programs held %.0f seconds beyond their work and idle time; controllers away: %v", len(programs), held.Seconds(), away)
}

// selfSigned is a certificate with its key, as Python reads it.
func selfSigned(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}
