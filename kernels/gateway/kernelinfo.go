package gateway

import (
	"encoding/json"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	maxInfo  = 16 << 10 // of one kernel_info_reply's content, in bytes
	maxInfos = 256
)

// infos remembers what each kernel said of itself, to answer its owner when it
// is parked: JupyterLab waits 3 s for kernel_info_reply before it sends
// anything else, nbclient a minute before it gives up. What a kernel said is
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

// languageInfo is a kernel_info_reply's language_info.
type languageInfo struct {
	Name          string `json:"name"`
	Version       string `json:"version"`
	Mimetype      string `json:"mimetype"`
	FileExtension string `json:"file_extension"`
	// CodemirrorMode is a name, or an object with one.
	CodemirrorMode    any    `json:"codemirror_mode,omitempty"`
	PygmentsLexer     string `json:"pygments_lexer,omitempty"`
	NbconvertExporter string `json:"nbconvert_exporter,omitempty"`
}

// languageInfos are what the kernels of these languages, by the name in a
// kernelspec in lower case, say of them but for the version.
var languageInfos = map[string]languageInfo{
	"python": {
		Name: "python", Version: "3", Mimetype: "text/x-python", FileExtension: ".py",
		CodemirrorMode: map[string]any{"name": "ipython", "version": 3}, PygmentsLexer: "ipython3", NbconvertExporter: "python",
	},
	"r":          {Name: "R", Mimetype: "text/x-r-source", FileExtension: ".r", CodemirrorMode: "r", PygmentsLexer: "r"},
	"julia":      {Name: "julia", Mimetype: "application/julia", FileExtension: ".jl", CodemirrorMode: "julia", PygmentsLexer: "julia"},
	"bash":       {Name: "bash", Mimetype: "text/x-sh", FileExtension: ".sh", CodemirrorMode: "shell", PygmentsLexer: "bash"},
	"typescript": {Name: "typescript", Mimetype: "text/x.typescript", FileExtension: ".ts", CodemirrorMode: "typescript", PygmentsLexer: "typescript", NbconvertExporter: "script"},
	"go":         {Name: "go", Mimetype: "text/x-go", FileExtension: ".go", CodemirrorMode: "go", PygmentsLexer: "go"},
	"c++":        {Name: "c++", Mimetype: "text/x-c++src", FileExtension: ".cpp", CodemirrorMode: "text/x-c++src", PygmentsLexer: "c++"},
	"javascript": {Name: "javascript", Mimetype: "application/javascript", FileExtension: ".js", CodemirrorMode: "javascript", PygmentsLexer: "javascript"},
	"scala":      {Name: "scala", Mimetype: "text/x-scala", FileExtension: ".sc", CodemirrorMode: "text/x-scala", PygmentsLexer: "scala", NbconvertExporter: "script"},
}

// specInfo is the content of a kernel_info_reply that follows from a
// kernelspec alone. JupyterLab keeps it for the life of the page, so it also
// says what decides about buttons and is true of every Python kernel we offer.
func specInfo(ks *v1alpha1.JupyterKernelSpec) any {
	info, known := languageInfos[language(ks)]
	if !known {
		info = languageInfo{Name: ks.Spec.Language, Mimetype: "text/plain", FileExtension: ".txt"}
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
