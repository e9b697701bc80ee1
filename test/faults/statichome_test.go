//go:build e2e

package faults

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/wire"
)

// TestHomesInOneVolume: a server and its kernel, in Pods of their own, have one directory of a
// claim in which others have theirs, and neither sees more of it. It is made, may be
// written without root, and its variables are kept in it.
func TestHomesInOneVolume(t *testing.T) {
	d := demo(t)
	t.Cleanup(func() {
		d.must(t, "delete", "persistentvolumeclaim", "faults-homes", "--ignore-not-found", "--wait=false")
	})
	d.apply(t, `{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "faults-homes"},
		"spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}}}`)
	in := func(user string) *server {
		return d.notebook(t, "faults-"+user, nil, "", map[string]any{
			"user": user, "kernelOptions": map[string]any{"policies": []string{"analysts"}, "idleTimeoutSeconds": 20},
			"storage": map[string]any{"home": map[string]any{"static": map[string]any{"claim": "faults-homes", "subPath": "all/" + user}}},
		})
	}
	ann, bea := in("ann"), in("bea")
	sh := func(s *server, script string) string {
		return d.must(t, "exec", s.ready().Metadata.Name, "--", "sh", "-ec", script)
	}
	sh(ann, "echo hers > ~/own")
	assert.Equal(t, "", sh(bea, "ls ~ | grep own || true"), "another's")
	_, k := ann.open(wire.SubprotocolV1)
	assert.Equal(t, "hers\n", run(t, k, "import os; kept = [1]; print(open(os.path.expanduser('~/own')).read(), end='')"))
	assert.Equal(t, "None\n", run(t, k, "print(open(os.path.expanduser('~/from-kernel'), 'w').close())"))
	assert.Equal(t, "from-kernel", sh(ann, "ls ~ | grep from"))
	ended := d.over(t, k.ID, 1)
	assert.Equal(t, "Parked", ended.Phase, ended.Message)
	assert.NotEqual(t, "none", ended.Kept.Outcome)
}
