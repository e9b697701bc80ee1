package v1alpha1

// plainJupyterNotebook is the kind without its methods.
type plainJupyterNotebook JupyterNotebook

func (o *JupyterNotebook) plain() any { return (*plainJupyterNotebook)(o) }

// Malformed tells what of the object cannot be read, nil if everything can.
func (o *JupyterNotebook) Malformed() error { return o.malformed.err() }

// Replaced makes an object whose spec could not be read one whose spec is what it
// holds now.
func (o *JupyterNotebook) Replaced() { o.malformed = nil }

// UnmarshalJSON implements json.Unmarshaler; it fails only where there are no metadata.
func (o *JupyterNotebook) UnmarshalJSON(data []byte) error {
	*o = JupyterNotebook{}
	m, err := decode(data, (*plainJupyterNotebook)(o), map[string]any{"user": &o.Spec.User, "server": &o.Spec.Server, "start": &o.Spec.Start, "stopped": &o.Spec.Stopped})
	o.malformed = m
	return err
}

// MarshalJSON implements json.Marshaler.
func (o JupyterNotebook) MarshalJSON() ([]byte, error) {
	return encode(plainJupyterNotebook(o), o.malformed)
}

// plainJupyterKernel is the kind without its methods.
type plainJupyterKernel JupyterKernel

func (o *JupyterKernel) plain() any { return (*plainJupyterKernel)(o) }

// Malformed tells what of the object cannot be read, nil if everything can.
func (o *JupyterKernel) Malformed() error { return o.malformed.err() }

// Replaced makes an object whose spec could not be read one whose spec is what it
// holds now.
func (o *JupyterKernel) Replaced() { o.malformed = nil }

// UnmarshalJSON implements json.Unmarshaler; it fails only where there are no metadata.
func (o *JupyterKernel) UnmarshalJSON(data []byte) error {
	*o = JupyterKernel{}
	m, err := decode(data, (*plainJupyterKernel)(o), map[string]any{"gateway": &o.Spec.Gateway, "notebook": &o.Spec.Notebook, "user": &o.Spec.User, "policies": &o.Spec.Policies, "run": &o.Spec.Run})
	o.malformed = m
	return err
}

// MarshalJSON implements json.Marshaler.
func (o JupyterKernel) MarshalJSON() ([]byte, error) {
	return encode(plainJupyterKernel(o), o.malformed)
}

// plainGroupPolicy is the kind without its methods.
type plainGroupPolicy GroupPolicy

func (o *GroupPolicy) plain() any { return (*plainGroupPolicy)(o) }

// Malformed tells what of the object cannot be read, nil if everything can.
func (o *GroupPolicy) Malformed() error { return o.malformed.err() }

// Replaced makes an object whose spec could not be read one whose spec is what it
// holds now.
func (o *GroupPolicy) Replaced() { o.malformed = nil }

// UnmarshalJSON implements json.Unmarshaler; it fails only where there are no metadata.
func (o *GroupPolicy) UnmarshalJSON(data []byte) error {
	*o = GroupPolicy{}
	m, err := decode(data, (*plainGroupPolicy)(o), map[string]any{"groups": &o.Spec.Groups, "default": &o.Spec.Default, "priority": &o.Spec.Priority})
	o.malformed = m
	return err
}

// MarshalJSON implements json.Marshaler.
func (o GroupPolicy) MarshalJSON() ([]byte, error) { return encode(plainGroupPolicy(o), o.malformed) }

// plainJupyterGateway is the kind without its methods.
type plainJupyterGateway JupyterGateway

func (o *JupyterGateway) plain() any { return (*plainJupyterGateway)(o) }

// Malformed tells what of the object cannot be read, nil if everything can.
func (o *JupyterGateway) Malformed() error { return o.malformed.err() }

// Replaced makes an object whose spec could not be read one whose spec is what it
// holds now.
func (o *JupyterGateway) Replaced() { o.malformed = nil }

// UnmarshalJSON implements json.Unmarshaler; it fails only where there are no metadata.
func (o *JupyterGateway) UnmarshalJSON(data []byte) error {
	*o = JupyterGateway{}
	m, err := decode(data, (*plainJupyterGateway)(o), nil)
	o.malformed = m
	return err
}

// MarshalJSON implements json.Marshaler.
func (o JupyterGateway) MarshalJSON() ([]byte, error) {
	return encode(plainJupyterGateway(o), o.malformed)
}

// plainJupyterKernelSpec is the kind without its methods.
type plainJupyterKernelSpec JupyterKernelSpec

func (o *JupyterKernelSpec) plain() any { return (*plainJupyterKernelSpec)(o) }

// Malformed tells what of the object cannot be read, nil if everything can.
func (o *JupyterKernelSpec) Malformed() error { return o.malformed.err() }

// Replaced makes an object whose spec could not be read one whose spec is what it
// holds now.
func (o *JupyterKernelSpec) Replaced() { o.malformed = nil }

// UnmarshalJSON implements json.Unmarshaler; it fails only where there are no metadata.
func (o *JupyterKernelSpec) UnmarshalJSON(data []byte) error {
	*o = JupyterKernelSpec{}
	m, err := decode(data, (*plainJupyterKernelSpec)(o), nil)
	o.malformed = m
	return err
}

// MarshalJSON implements json.Marshaler.
func (o JupyterKernelSpec) MarshalJSON() ([]byte, error) {
	return encode(plainJupyterKernelSpec(o), o.malformed)
}

// plainJupyterKernelTemplate is the kind without its methods.
type plainJupyterKernelTemplate JupyterKernelTemplate

func (o *JupyterKernelTemplate) plain() any { return (*plainJupyterKernelTemplate)(o) }

// Malformed tells what of the object cannot be read, nil if everything can.
func (o *JupyterKernelTemplate) Malformed() error { return o.malformed.err() }

// Replaced makes an object whose spec could not be read one whose spec is what it
// holds now.
func (o *JupyterKernelTemplate) Replaced() { o.malformed = nil }

// UnmarshalJSON implements json.Unmarshaler; it fails only where there are no metadata.
func (o *JupyterKernelTemplate) UnmarshalJSON(data []byte) error {
	*o = JupyterKernelTemplate{}
	m, err := decode(data, (*plainJupyterKernelTemplate)(o), nil)
	o.malformed = m
	return err
}

// MarshalJSON implements json.Marshaler.
func (o JupyterKernelTemplate) MarshalJSON() ([]byte, error) {
	return encode(plainJupyterKernelTemplate(o), o.malformed)
}
