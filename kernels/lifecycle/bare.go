package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// A bare kernel is a Pod of the template in its own spec, as elastic-jupyter-operator had
// it. Nobody waits for it in a cell, and nobody would ask for its next run: what keeps its
// Pod from starting is waited out, and another template makes another run.

// Reasons of ConditionTemplateApplied.
const (
	ReasonTemplateChanged v1alpha1.Reason = "TemplateChanged"
	ReasonPodReplaced     v1alpha1.Reason = "PodReplaced"
)

func isBare(k *v1alpha1.JupyterKernel) bool {
	return k.Spec.KernelSpec == "" && k.Spec.Template != nil && k.Malformed() == nil
}

// templateDigest tells one template from another, and is the same in every release: fields
// that are not set are left out, whether or not this release knows them.
func templateDigest(k *v1alpha1.JupyterKernel) string {
	var fields any
	text, _ := json.Marshal(k.Spec.Template) // what was decoded from JSON encodes
	_ = json.Unmarshal(text, &fields)
	text, _ = json.Marshal(whatIsSet(fields))
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// whatIsSet leaves out of JSON what is null or empty.
func whatIsSet(value any) any {
	fields, ok := value.(map[string]any)
	if list, isList := value.([]any); isList {
		for i := range list {
			list[i] = whatIsSet(list[i])
		}
	}
	if !ok {
		return value
	}
	for key, field := range fields {
		field = whatIsSet(field)
		if inner, isMap := field.(map[string]any); field == nil || isMap && len(inner) == 0 {
			delete(fields, key)
			continue
		}
		fields[key] = field
	}
	return fields
}

// templateChanged reports whether the present run is of another template. Of a run of a
// former release nobody knows, but that it came to nothing if its template was refused.
func (p *plan) templateChanged(k *v1alpha1.JupyterKernel) bool {
	if !isBare(k) {
		return false
	}
	if p.status.Template == "" {
		return p.status.Phase == v1alpha1.KernelDead && p.status.Cause == v1alpha1.CauseInvalid
	}
	return p.status.Template != templateDigest(k)
}

// runAnew begins the next run of a bare kernel although nobody asks for it.
func (p *plan) runAnew(v observed) {
	former := p.status.Run
	p.enqueue(former+1, v)
	p.setCondition(v.now, ConditionTemplateApplied, false, string(ReasonTemplateChanged),
		fmt.Sprintf("spec.template was changed: the Pod of run %d ends, and run %d is made from the new one.", former, former+1))
}

// noteTemplate notes what the run is made from, and when there is a Pod of it.
func (p *plan) noteTemplate(v observed) {
	if !isBare(v.kernel) {
		return
	}
	p.status.Template = templateDigest(v.kernel)
	if meta.IsStatusConditionFalse(p.status.Conditions, ConditionTemplateApplied) && p.status.PodName != "" {
		p.setCondition(v.now, ConditionTemplateApplied, true, string(ReasonPodReplaced),
			fmt.Sprintf("Run %d is made from spec.template as it is now.", p.status.Run))
	}
}
