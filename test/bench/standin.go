package main

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/test/bench/synthetic"
	"github.com/elastichub/elastichub/test/loopback"
)

// standInNode is the name of the only node.
const standInNode = "stand-in"

// standIn plays scheduler, node and agents: it binds every Pod, says that it runs and is
// ready, and that it has ended once it is deleted. Nothing runs.
type standIn struct {
	api    client.Client
	pods   cache.Cache
	queue  workqueue.TypedRateLimitingInterface[types.NamespacedName]
	ended  sync.WaitGroup
	mu     sync.Mutex
	agents map[types.UID]func() // by Pod: what ends its agent
}

// standInWorkers is how many Pods are looked after at once.
const standInWorkers = 8

// newStandIn registers the node and looks after Pods until ctx ends.
func newStandIn(ctx context.Context, api client.Client, pods cache.Cache) (*standIn, error) {
	s := &standIn{api: api, pods: pods, agents: map[types.UID]func(){}, queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[types.NamespacedName]())}
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100k"), corev1.ResourceMemory: resource.MustParse("1Pi"), corev1.ResourcePods: resource.MustParse("100k")}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: standInNode}}
	if err := api.Create(ctx, node); err != nil {
		return nil, err
	}
	node.Status = corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}
	if err := api.Status().Update(ctx, node); err != nil {
		return nil, err
	}
	informer, err := pods.GetInformer(ctx, &corev1.Pod{})
	if err != nil {
		return nil, err
	}
	look := func(o any) {
		if pod, ok := o.(*corev1.Pod); ok {
			s.queue.Add(client.ObjectKeyFromObject(pod))
		}
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: look, UpdateFunc: func(_, now any) { look(now) }, DeleteFunc: look,
	}); err != nil {
		return nil, err
	}
	for range standInWorkers {
		s.ended.Add(1)
		go s.work(ctx)
	}
	go func() {
		<-ctx.Done()
		s.queue.ShutDown()
	}()
	return s, nil
}

// wait returns when nothing is looked after any more.
func (s *standIn) wait() {
	s.ended.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stop := range s.agents {
		stop()
	}
}

func (s *standIn) work(ctx context.Context) {
	defer s.ended.Done()
	for {
		name, over := s.queue.Get()
		if over {
			return
		}
		if err := s.see(ctx, name); err != nil && ctx.Err() == nil {
			s.queue.AddRateLimited(name)
		} else {
			s.queue.Forget(name)
		}
		s.queue.Done(name)
	}
}

// see does the next step of a Pod.
func (s *standIn) see(ctx context.Context, name types.NamespacedName) error {
	var pod corev1.Pod
	if err := s.pods.Get(ctx, name, &pod); err != nil {
		return client.IgnoreNotFound(err)
	}
	switch {
	case pod.DeletionTimestamp != nil:
		return s.end(ctx, &pod)
	case pod.Spec.NodeName == "":
		to := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: standInNode}}
		return client.IgnoreNotFound(s.api.SubResource("binding").Create(ctx, &pod, to))
	case pod.Status.Phase == corev1.PodPending:
		return s.begin(ctx, &pod)
	}
	return nil
}

// begin makes a Pod ready, with an agent if it is a kernel's.
func (s *standIn) begin(ctx context.Context, pod *corev1.Pod) error {
	now, ip := metav1.Now(), loopback.IP()
	if pod.Labels[v1alpha1.LabelComponent] == v1alpha1.ComponentKernel {
		if err := s.agent(ctx, pod, ip); err != nil {
			return err
		}
	}
	before := pod.DeepCopy()
	pod.Status.Phase, pod.Status.StartTime, pod.Status.HostIP, pod.Status.PodIP = corev1.PodRunning, &now, "127.0.0.1", ip
	pod.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	pod.Status.Conditions = nil
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for _, c := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Ready: true, Started: new(true), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}})
	}
	return client.IgnoreNotFound(s.api.Status().Patch(ctx, pod, client.MergeFrom(before)))
}

// agent listens where the controllers look for the agent of a kernel's Pod.
func (s *standIn) agent(ctx context.Context, pod *corev1.Pod, ip string) error {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return errors.New("a kernel's Pod without a kernel")
	}
	var k v1alpha1.JupyterKernel
	if err := s.api.Get(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: owner.Name}, &k); err != nil {
		return client.IgnoreNotFound(err)
	}
	secrets, err := podspec.AgentSecrets(ctx, s.api, &k)
	if err != nil {
		return err
	}
	stop, err := synthetic.StartAgent(ip, secrets[0])
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if former := s.agents[pod.UID]; former != nil {
		former()
	}
	s.agents[pod.UID] = stop
	return nil
}

// end lets a deleted Pod go as a kubelet does: first it has ended, then it is gone.
func (s *standIn) end(ctx context.Context, pod *corev1.Pod) error {
	s.mu.Lock()
	if stop := s.agents[pod.UID]; stop != nil {
		stop()
		delete(s.agents, pod.UID)
	}
	s.mu.Unlock()
	if pod.Status.Phase != corev1.PodFailed {
		before := pod.DeepCopy()
		pod.Status.Phase = corev1.PodFailed
		for i := range pod.Status.ContainerStatuses {
			pod.Status.ContainerStatuses[i].Ready = false
			pod.Status.ContainerStatuses[i].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143, FinishedAt: metav1.NewTime(time.Now())}}
		}
		if err := s.api.Status().Patch(ctx, pod, client.MergeFrom(before)); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	return client.IgnoreNotFound(s.api.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID}))
}
