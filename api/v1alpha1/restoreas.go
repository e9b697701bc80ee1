package v1alpha1

import (
	"cmp"
	"encoding/json"
)

// RestoreAs is what a kernel keeps in AnnotationRestoreAs for a copy of it that is made from a
// backup: that has another UID, and has no status.
type RestoreAs struct {
	// UID is what the kernel's kept state goes by, and Seal shows that the controllers have
	// written it for this very kernel.
	UID  string `json:"uid,omitempty"`
	Seal string `json:"seal,omitempty"`
	// Kept is that of its status.
	Kept *KeptState `json:"kept,omitempty"`
}

// RestoreAs is what the kernel's annotation says; false: it has none. One that cannot be read
// says nothing else than that the kernel is a copy.
func (k *JupyterKernel) RestoreAs() (RestoreAs, bool) {
	text, found := k.Annotations[AnnotationRestoreAs]
	var as RestoreAs
	if json.Unmarshal([]byte(text), &as) != nil {
		as = RestoreAs{}
	}
	return as, found
}

// StateUID is the UID that the kernel's kept state goes by.
func (k *JupyterKernel) StateUID() string { return cmp.Or(k.Status.KeptAs, string(k.UID)) }
