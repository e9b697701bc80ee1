package gateways

import (
	"reflect"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// settled remembers what Deployments were asked to be, and the generation that came of it:
// one in which that has not changed is as it should be, with what the API server filled in.
type settled struct{ of sync.Map } // types.NamespacedName → settledDeployment

type settledDeployment struct {
	uid        types.UID
	generation int64
	spec       appsv1.DeploymentSpec
}

// is reports whether an object is a Deployment that was asked to be as wanted, and is so
// in all but what the API server filled in.
func (s *settled) is(object, wanted client.Object) bool {
	has, ok1 := object.(*appsv1.Deployment)
	want, ok2 := wanted.(*appsv1.Deployment)
	known, found := s.of.Load(client.ObjectKeyFromObject(object))
	if !ok1 || !ok2 || !found {
		return false
	}
	then := known.(settledDeployment)
	return then.uid == has.UID && then.generation == has.Generation && equality.Semantic.DeepEqual(then.spec, want.Spec) &&
		equality.Semantic.DeepEqual(has.ObjectMeta, want.ObjectMeta)
}

// note is told what the API server has made of what was wanted.
func (s *settled) note(object, wanted client.Object) {
	has, ok1 := object.(*appsv1.Deployment)
	want, ok2 := wanted.(*appsv1.Deployment)
	if ok1 && ok2 {
		s.of.Store(client.ObjectKeyFromObject(object), settledDeployment{has.UID, has.Generation, want.Spec})
	}
}

func (s *settled) forget(deployment types.NamespacedName) { s.of.Delete(deployment) }

// versions remembers which version of an object came of asking it to be what. In that one it is left
// alone, also where a webhook has made something else of it: it would do so again.
type versions struct{ of sync.Map } // writtenObject → writtenVersion

type writtenObject struct {
	kind reflect.Type
	name types.NamespacedName
}

type writtenVersion struct {
	version string
	wanted  client.Object
}

func (w *versions) is(object, wanted client.Object) bool {
	known, found := w.of.Load(writtenObject{reflect.TypeOf(object), client.ObjectKeyFromObject(object)})
	return found && known.(writtenVersion).version == object.GetResourceVersion() && equality.Semantic.DeepEqual(known.(writtenVersion).wanted, wanted)
}

func (w *versions) note(object, wanted client.Object) {
	w.of.Store(writtenObject{reflect.TypeOf(object), client.ObjectKeyFromObject(object)}, writtenVersion{object.GetResourceVersion(), wanted})
}

// forget forgets what a gateway owns.
func (w *versions) forget(wantedBy types.NamespacedName) {
	w.of.Range(func(key, known any) bool {
		for _, owner := range known.(writtenVersion).wanted.GetOwnerReferences() {
			if owner.Kind == "JupyterGateway" && owner.Name == wantedBy.Name && key.(writtenObject).name.Namespace == wantedBy.Namespace {
				w.of.Delete(key)
			}
		}
		return true
	})
}
