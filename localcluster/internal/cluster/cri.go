package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

func (l Layout) dialCRI() (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+l.ContainerdSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func (l Layout) probeCRI(ctx context.Context) error {
	conn, err := l.dialCRI()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err = cri.NewRuntimeServiceClient(conn).Version(ctx, &cri.VersionRequest{})
	return err
}

// ImageID returns the id of a loaded image (the digest of its configuration),
// or "" if there is none of that name.
func (l Layout) ImageID(ctx context.Context, name string) (string, error) {
	conn, err := l.dialCRI()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	response, err := cri.NewImageServiceClient(conn).ImageStatus(ctx, &cri.ImageStatusRequest{
		Image: &cri.ImageSpec{Image: name},
	})
	if err != nil {
		return "", err
	}
	return response.GetImage().GetId(), nil
}

// ImportImage loads the image archive (OCI or Docker) that write writes, under
// the names in it.
func (l Layout) ImportImage(ctx context.Context, write func(io.Writer) error) error {
	cmd := l.ctr(ctx, "images", "import", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return err
	}
	written := write(in)
	in.Close()
	// If both fail, the import failed first and the writer lost its reader.
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("ctr images import: %w: %s", err, host.LastLines(output.String(), 5))
	}
	return written
}

// Blobs are the digests of the blobs that containerd has. An image archive may
// leave them out.
func (l Layout) Blobs(ctx context.Context) (map[string]bool, error) {
	out, err := l.ctr(ctx, "content", "ls", "--quiet").Output()
	if err != nil {
		return nil, fmt.Errorf("ctr content ls: %w", err)
	}
	blobs := make(map[string]bool)
	for _, digest := range strings.Fields(string(out)) {
		blobs[digest] = true
	}
	return blobs, nil
}

func (l Layout) ctr(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "/usr/bin/ctr",
		append([]string{"--address", l.ContainerdSocket(), "--namespace", "k8s.io"}, args...)...)
}

// removePods stops every Pod without asking Kubernetes: containers, shims,
// network namespaces and the CNI plugins' rules go.
func (l Layout) removePods(ctx context.Context) error {
	conn, err := l.dialCRI()
	if err != nil {
		return err
	}
	defer conn.Close()
	runtime := cri.NewRuntimeServiceClient(conn)
	list, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	var (
		wait   sync.WaitGroup
		mu     sync.Mutex
		failed []error
	)
	slots := make(chan struct{}, 8)
	for _, sandbox := range list.Items {
		wait.Add(1)
		go func() {
			defer wait.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			_, err := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: sandbox.Id})
			if err == nil {
				_, err = runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.Id})
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Errorf("remove Pod %s: %w", sandbox.GetMetadata().GetName(), err))
			}
		}()
	}
	wait.Wait()
	return errors.Join(failed...)
}
