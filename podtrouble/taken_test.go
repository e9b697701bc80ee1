package podtrouble_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/podtrouble"
)

// The words are those of the scheduler (pkg/scheduler/framework/preemption), the kubelet
// (pkg/kubelet/eviction, nodeshutdown, preemption), the eviction API (pkg/registry/core/pod), the taint
// managers and the collector of Pods, Kubernetes 1.30 to 1.35.
func TestTakenAway(t *testing.T) {
	t.Parallel()
	condition := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: message}}}
	}
	failed := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: message}
	}
	for name, row := range map[string]struct {
		status corev1.PodStatus
		by     podtrouble.Taking
		clause string
	}{
		"nobody": {corev1.PodStatus{Phase: corev1.PodFailed, Reason: "DeadlineExceeded"}, "", ""},
		"preempted": {condition("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"),
			podtrouble.TakenByPreemption, "a Pod of higher priority needed its place on the node n1 (preemption; its own priority is -5)."},
		"drained": {condition("EvictionByEvictionAPI", "Eviction API: evicting"),
			podtrouble.TakenByEviction, "the node n1 is being emptied (drain), or somebody asked for its eviction."},
		"tainted": {condition("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
			podtrouble.TakenByTaint, "the node n1 does not answer, or takes no such Pods any more (a taint NoExecute)."},
		"a device is tainted": {condition("DeletionByDeviceTaintManager", "Device Taint manager: deleting due to NoExecute taint"),
			podtrouble.TakenByTaint, "a device that it used on the node n1 is taken out of use (a taint NoExecute of the device)."},
		"its node is gone": {condition("DeletionByPodGC", "PodGC: node no longer exists"), podtrouble.TakenWithNode, "the node n1 is gone."},
		"by the kubelet, before it has ended": {condition("TerminationByKubelet", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "),
			podtrouble.TakenByPressure, "the node n1 ran short of memory (50Mi were left, and it keeps 100Mi free)."},
		"a newer word": {condition("DeletionByTheMoon", "It is full"), podtrouble.TakenByOthers, "DeletionByTheMoon: It is full."},
		"short of memory": {failed("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container kernel was using 3Gi, request is 1Gi, has larger consumption of memory. Container side was using 9Mi, request is 0, has larger consumption of memory. "),
			podtrouble.TakenByPressure, "the node n1 ran short of memory (50Mi were left, and it keeps 100Mi free). Its container kernel used 3Gi and had asked for 1Gi. Its container side used 9Mi and had asked for 0."},
		"short of disk":    {failed("Evicted", "The node was low on resource: ephemeral-storage. "), podtrouble.TakenByPressure, "the node n1 ran short of disk."},
		"a volume":         {failed("Evicted", `Usage of EmptyDir volume "scratch" exceeds the limit "1Gi". `), podtrouble.TakenByPressure, "its volume scratch held more than 1Gi, which is its limit."},
		"a container's":    {failed("Evicted", `Container kernel exceeded its local ephemeral storage limit "2Gi". `), podtrouble.TakenByPressure, "its container kernel wrote more than 2Gi to the node's disk, which is its limit. Large files belong in the home."},
		"all containers'":  {failed("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 3Gi. "), podtrouble.TakenByPressure, "it wrote more than 3Gi to the node's disk, which is its limit. Large files belong in the home."},
		"something else":   {failed("Evicted", "The node had condition: [DiskPressure]. "), podtrouble.TakenByPressure, "the node ended it: The node had condition: [DiskPressure]."},
		"a node goes down": {failed("Terminated", "Pod was terminated in response to imminent node shutdown."), podtrouble.TakenByShutdown, "the node n1 shuts down."},
		"for a critical Pod": {failed("Preempting", "Preempted in order to admit critical pod"),
			podtrouble.TakenByPreemption, "the node n1 needed its place for a Pod that the cluster cannot do without."},
	} {
		by, clause := podtrouble.TakenAway(&corev1.Pod{Spec: corev1.PodSpec{NodeName: "n1", Priority: ptr.To[int32](-5)}, Status: row.status})
		assert.Equal(t, row.by, by, name)
		assert.Equal(t, row.clause, clause, name)
	}
}

// TestBounds: what is unfit whoever asks for it, and what of it is beyond a bound.
func TestBounds(t *testing.T) {
	t.Parallel()
	const pod = `pods "a" is forbidden: `
	for message, row := range map[string]struct {
		unfit    bool
		resource string
		tooMuch  bool
	}{
		pod + "maximum cpu usage per Container is 4, but limit is 8":                                                                             {true, "cpu", true},
		pod + "[maximum memory usage per Container is 4Gi, but limit is 8Gi, maximum cpu usage per Container is 4, but limit is 8]":              {true, "memory", true},
		pod + "[minimum memory usage per Pod is 1Gi.  No request is specified, maximum cpu usage per Container is 4, but limit is 8]":            {true, "memory", false},
		pod + "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000":                                                {true, "", false},
		pod + "exceeded quota: q, requested: pods=1,requests.cpu=32, used: pods=0,requests.cpu=0, limited: pods=9,requests.cpu=16":               {true, "requests.cpu", true},
		pod + "exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=15, limited: requests.cpu=16":                                    {false, "", false},
		pod + "no PriorityClass with name high was found":                                                                                        {true, "", false},
		pod + `violates PodSecurity "restricted:latest": runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true)`: {false, "", false},
		`admission webhook "w.example.org" denied the request: maximum cpu usage per Container is 4, but limit is 8`:                             {false, "", false},
	} {
		assert.Equal(t, row.unfit, podtrouble.Unfit(message), message)
		resource, tooMuch := podtrouble.Bound(message)
		assert.Equal(t, row.resource, resource, message)
		assert.Equal(t, row.tooMuch, tooMuch, message)
	}
	assert.True(t, podtrouble.Denied(`admission webhook "w.example.org" denied the request: no`))
	assert.False(t, podtrouble.Denied(pod+"maximum cpu usage per Container is 4, but limit is 8"))
}
