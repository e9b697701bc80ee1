package cluster

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
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

// ImportImage loads an image archive (OCI or Docker) under the names in it.
func (l Layout) ImportImage(ctx context.Context, archive string) error {
	out, err := exec.CommandContext(ctx, "/usr/bin/ctr",
		"--address", l.ContainerdSocket(), "--namespace", "k8s.io", "images", "import", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import image %s: %w: %s", archive, err, host.LastLines(string(out), 5))
	}
	return nil
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
