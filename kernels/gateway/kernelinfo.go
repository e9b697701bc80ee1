package gateway

import (
	"encoding/json"
	"sync"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	maxInfo  = 64 << 10 // of one kernel_info_reply's content, in bytes
	maxInfos = 256
)

// infos remembers what kernels of each kernelspec said of themselves, to
// answer for one that has no Pod: JupyterLab waits 3 s for kernel_info_reply
// before it sends anything else, nbclient a minute before it gives up.
type infos struct {
	mu sync.Mutex
	by map[string]json.RawMessage // by kernelspec and image
}

func newInfos() *infos { return &infos{by: map[string]json.RawMessage{}} }

func infoKey(name string, ks *v1alpha1.JupyterKernelSpec) string {
	if ks == nil {
		return name
	}
	return name + "\n" + ks.Spec.Image
}

// learn takes the content of a real kernel_info_reply.
func (i *infos) learn(key string, content []byte) {
	if len(content) > maxInfo || wire.Member(content, "status") != "ok" || !json.Valid(content) {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, known := i.by[key]; known || len(i.by) < maxInfos {
		i.by[key] = append(json.RawMessage(nil), content...)
	}
}

// content is that of a reply in the kernel's stead.
func (i *infos) content(key, language string) any {
	i.mu.Lock()
	defer i.mu.Unlock()
	if known, ok := i.by[key]; ok {
		return known
	}
	info := map[string]any{"name": language, "version": "", "mimetype": "text/plain", "file_extension": ".txt"}
	if language == "python" {
		info = map[string]any{
			"name": "python", "version": "3", "mimetype": "text/x-python", "file_extension": ".py",
			"codemirror_mode": map[string]any{"name": "ipython", "version": 3},
			"pygments_lexer":  "ipython3", "nbconvert_exporter": "python",
		}
	}
	return map[string]any{
		"status": "ok", "protocol_version": wire.ProtocolVersion,
		"implementation": "elastichub", "implementation_version": "1",
		"banner": "", "help_links": []any{}, "language_info": info,
	}
}
