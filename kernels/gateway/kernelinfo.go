package gateway

import (
	"encoding/json"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	maxInfo  = 16 << 10 // of one kernel_info_reply's content, in bytes
	maxInfos = 256
)

// infos remembers what each kernel said of itself, to answer its owner when it
// is parked: JupyterLab waits 3 s for kernel_info_reply before it sends
// anything else. What a kernel said is
// under its owner's control (banner, links, exporter) and is told of no other
// kernel, not even of the same kernelspec.
type infos struct {
	mu    sync.Mutex
	by    map[types.UID]json.RawMessage
	queue []types.UID // by age
}

func newInfos() *infos { return &infos{by: map[types.UID]json.RawMessage{}} }

// learn takes the content of a kernel's own kernel_info_reply.
func (i *infos) learn(kernel types.UID, content []byte) {
	if len(content) > maxInfo || wire.Member(content, "status") != "ok" || !json.Valid(content) {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, known := i.by[kernel]; !known {
		if len(i.queue) >= maxInfos {
			delete(i.by, i.queue[0])
			i.queue = i.queue[1:]
		}
		i.queue = append(i.queue, kernel)
	}
	i.by[kernel] = append(json.RawMessage(nil), content...)
}

// knows reports whether a kernel has said something of itself.
func (i *infos) knows(kernel types.UID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, ok := i.by[kernel]
	return ok
}

// fromPage reports whether a kernel_info_request with that header is from
// @jupyterlab/services 6 or 7, by a user name that is empty and the version it
// names. It keeps the first reply for as long as the page lives, so it must be
// the kernel's; it sends what else it has after 3 s without one.
func fromPage(header []byte) bool {
	return len(wire.ParseFields(header).Session) > 0 && wire.Member(header, "version") == "5.2" &&
		wire.HasMember(header, "username") && wire.Member(header, "username") == ""
}

// hastyFrame reports whether a legacy frame is from the GatewayKernelClient of
// jupyter_server 2, which nbclient uses: it names no channel. It ends with an
// assertion when kernel_info is not answered within a second.
func hastyFrame(data []byte) bool {
	return len(data) > 0 && data[0] == '{' && !wire.HasMember(data, "channel")
}

// content is that of a reply in a kernel's stead: what it said itself, or else
// what its kernelspec, which may be nil, lets one know.
func (i *infos) content(kernel types.UID, ks *v1alpha1.JupyterKernelSpec) any {
	i.mu.Lock()
	defer i.mu.Unlock()
	if own, ok := i.by[kernel]; ok {
		return own
	}
	return specInfo(ks)
}

// specInfo is the content of a kernel_info_reply that follows from a
// kernelspec alone.
func specInfo(ks *v1alpha1.JupyterKernelSpec) any {
	info := languages.Of(language(ks)).Info
	if info == nil {
		info = &languages.Info{Name: ks.Spec.Language, Mimetype: "text/plain", FileExtension: ".txt"}
	}
	content := map[string]any{
		"status": "ok", "protocol_version": wire.ProtocolVersion,
		"implementation": "elastichub", "implementation_version": "1",
		"banner": "", "help_links": []any{}, "language_info": info,
	}
	if offersDebugger(ks) {
		content["debugger"], content["supported_features"] = true, []string{"debugger"}
	}
	return content
}
