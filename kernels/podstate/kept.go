package podstate

import (
	"encoding/json"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// keptBy is what the agent of a Pod that has ended says that is kept. One that has no
// container of its own is not believed: its kernel could have written that.
func keptBy(pod *corev1.Pod) *v1alpha1.KeptState {
	state := terminated(pod)
	if state == nil || !podspec.HasAgentContainer(&pod.Spec) {
		return nil
	}
	var said protocol.Result
	if json.Unmarshal([]byte(state.Message), &said) != nil || said.Kept == nil {
		return nil
	}
	k := said.Kept
	kept := &v1alpha1.KeptState{
		Outcome: string(k.Outcome), Run: max(k.Run, 0), Bytes: max(k.Bytes, 0), Variables: int32(min(max(k.Variables, 0), math.MaxInt32)),
	}
	switch k.Outcome {
	case protocol.KeptWhole, protocol.KeptPart:
	case protocol.KeptNone:
		return &v1alpha1.KeptState{Outcome: string(k.Outcome)}
	default: // a newer agent's
		return nil
	}
	if !k.SavedAt.IsZero() {
		kept.SavedAt = &metav1.Time{Time: k.SavedAt}
	}
	for _, lost := range k.Lost[:min(len(k.Lost), protocol.MostLost)] {
		kept.Lost = append(kept.Lost, Clip(lost))
	}
	return kept
}
