package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"
)

// The driver of devices that are allocated by claims, the DeviceClass that it makes and
// the extended resource that the class answers for. The node does not name it itself,
// as it does nvidia.com/gpu: whatever a node names is not allocated by claims.
const (
	deviceDriver   = "gpu.elastichub.io"
	deviceClass    = "gpu.elastichub.io"
	deviceResource = "example.com/gpu"
)

// deviceGates let classes of devices answer for extended resources: alpha in 1.34, where
// claims themselves are on by default. The kubelet's is in its configuration.
const deviceGates = "--feature-gates=DRAExtendedResource=true"

// MostDevices is how many devices one ResourceSlice holds.
const MostDevices = resourcev1.ResourceSliceMaxDevices

// PublishDevices is the driver of that many devices of the node until ctx ends, and
// then takes them, and the DeviceClass, away again. There is nothing behind them, as
// with GPUs: they are published, allocated and prepared, which is all that the
// scheduler and the kubelet do. ready is called when the slice is published.
func PublishDevices(ctx context.Context, l Layout, devices int, ready func()) error {
	client, err := l.Client()
	if err != nil {
		return err
	}
	data := l.path("kubelet", "plugins", deviceDriver)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(data)
	if err := makeDeviceClass(ctx, client); err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	helper, err := kubeletplugin.Start(ctx, driver{fail: fail},
		kubeletplugin.DriverName(deviceDriver),
		kubeletplugin.KubeClient(client),
		kubeletplugin.NodeName(nodeName),
		kubeletplugin.RegistrarDirectoryPath(l.path("kubelet", "plugins_registry")),
		kubeletplugin.PluginDataDirectoryPath(data),
	)
	if err != nil {
		return fmt.Errorf("start the driver: %w", err)
	}
	defer removeDevices(client)
	defer helper.Stop()
	pool := resourceslice.Pool{Slices: []resourceslice.Slice{{Devices: devicesOf(devices)}}}
	if err := helper.PublishResources(ctx, resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{nodeName: pool}}); err != nil {
		return fmt.Errorf("publish devices: %w", err)
	}
	if err := awaitDevices(ctx, client, helper, devices); err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func devicesOf(n int) (list []resourcev1.Device) {
	for i := range n {
		list = append(list, resourcev1.Device{
			Name: fmt.Sprintf("gpu-%d", i),
			Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
				"type":  {StringValue: ptr.To("gpu")},
				"index": {IntValue: ptr.To(int64(i))},
			},
		})
	}
	return list
}

// makeDeviceClass leaves one that is there as it is.
func makeDeviceClass(ctx context.Context, client kubernetes.Interface) error {
	class := &resourcev1.DeviceClass{
		ObjectMeta: metav1.ObjectMeta{Name: deviceClass},
		Spec: resourcev1.DeviceClassSpec{
			Selectors: []resourcev1.DeviceSelector{{
				CEL: &resourcev1.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q && device.attributes[%q].type == \"gpu\"", deviceDriver, deviceDriver)},
			}},
			ExtendedResourceName: ptr.To(deviceResource),
		},
	}
	made, err := client.ResourceV1().DeviceClasses().Create(ctx, class, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the DeviceClass: %w", err)
	}
	if made.Spec.ExtendedResourceName == nil {
		return errors.New("the API server drops extendedResourceName: the cluster was started without the gate DRAExtendedResource; localcluster down, then up")
	}
	return nil
}

// awaitDevices waits until the slice is there and the kubelet knows the driver.
func awaitDevices(ctx context.Context, client kubernetes.Interface, helper *kubeletplugin.Helper, devices int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the devices were not published within a minute"))
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		slices, err := client.ResourceV1().ResourceSlices().List(ctx, ofDriver)
		if err != nil && ctx.Err() == nil {
			return err
		}
		status := helper.RegistrationStatus()
		if err == nil && len(slices.Items) == 1 && len(slices.Items[0].Spec.Devices) == devices && status != nil && status.PluginRegistered {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

var ofDriver = metav1.ListOptions{FieldSelector: resourcev1.ResourceSliceSelectorDriver + "=" + deviceDriver}

// removeDevices leaves nothing for which a Pod would wait.
func removeDevices(client kubernetes.Interface) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := client.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, ofDriver); err != nil {
		slog.Warn("remove the devices", "error", err)
	}
	if err := client.ResourceV1().DeviceClasses().Delete(ctx, deviceClass, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		slog.Warn("remove the DeviceClass", "error", err)
	}
}

// driver prepares whatever was allocated: without devices in the container, since
// Debian's containerd knows none by name (CDI).
type driver struct{ fail context.CancelCauseFunc }

func (d driver) PrepareResourceClaims(_ context.Context, claims []*resourcev1.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	prepared := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range claims {
		var result kubeletplugin.PrepareResult
		for _, device := range claim.Status.Allocation.Devices.Results {
			if device.Driver == deviceDriver {
				result.Devices = append(result.Devices, kubeletplugin.Device{Requests: []string{device.Request}, PoolName: device.Pool, DeviceName: device.Device})
			}
		}
		slog.Info("prepared", "claim", claim.Namespace+"/"+claim.Name, "devices", len(result.Devices))
		prepared[claim.UID] = result
	}
	return prepared, nil
}

func (d driver) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	ended := map[types.UID]error{}
	for _, claim := range claims {
		slog.Info("ended", "claim", claim.String())
		ended[claim.UID] = nil
	}
	return ended, nil
}

func (d driver) HandleError(_ context.Context, err error, message string) {
	slog.Warn(message, "error", err)
	if !errors.Is(err, kubeletplugin.ErrRecoverable) {
		d.fail(fmt.Errorf("%s: %w", message, err))
	}
}
