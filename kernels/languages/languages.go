// Package languages holds what is known of the languages of kernels, one entry
// each: a new language is a new entry here.
package languages

import (
	"strings"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// Python is the name of that language.
const Python = "python"

// Default is the language of a kernelspec that names none, as it was for
// elastic-jupyter-operator.
const Default = Python

// Language is what is known of one.
type Language struct {
	// Command is the argv of the kernelspec that the language's kernel installs;
	// nil where there is no standard one.
	Command []string
	// Badge is the logo of a kernelspec that brings none.
	Badge Badge
	// InterruptMode is the kernelspec's interrupt_mode; empty for Jupyter's default, signal.
	InterruptMode protocol.InterruptMode
	// Debugger: every kernel of the language that we offer has one.
	Debugger bool
	// Info is what its kernel says of it, but for the version; nil if that is not known.
	Info *Info
}

// Badge are letters on a ground of a colour of CSS.
type Badge struct{ Letters, Colour string }

// Info is the language_info of a kernel_info_reply.
type Info struct {
	Name          string `json:"name"`
	Version       string `json:"version"`
	Mimetype      string `json:"mimetype"`
	FileExtension string `json:"file_extension"`
	// CodemirrorMode is a name, or an object with one.
	CodemirrorMode    any    `json:"codemirror_mode,omitempty"`
	PygmentsLexer     string `json:"pygments_lexer,omitempty"`
	NbconvertExporter string `json:"nbconvert_exporter,omitempty"`
}

// Name is the language that a kernelspec's field means.
func Name(field string) string {
	if field == "" {
		return Default
	}
	return strings.ToLower(field)
}

// Label is how kernels and kernelspecs write the language that a kernelspec's
// field means: with its own name where it is known.
func Label(field string) string {
	if info := Of(field).Info; info != nil {
		return info.Name
	}
	return field
}

// Of is what is known of the language that a kernelspec's field means; nothing
// of one that is not known.
func Of(field string) Language { return known[Name(field)] }

var known = map[string]Language{
	"python": {
		Command: []string{"python3", "-m", "ipykernel_launcher", "-f", protocol.ConnectionFile},
		Badge:   Badge{"Py", "#2f6f9f"}, InterruptMode: protocol.InterruptMessage, Debugger: true,
		Info: &Info{
			Name: "python", Version: "3", Mimetype: "text/x-python", FileExtension: ".py",
			CodemirrorMode: map[string]any{"name": "ipython", "version": 3}, PygmentsLexer: "ipython3", NbconvertExporter: "python",
		},
	},
	"r": {
		Command: []string{"R", "--slave", "-e", "IRkernel::main()", "--args", protocol.ConnectionFile},
		Badge:   Badge{"R", "#3a5f8f"},
		Info:    &Info{Name: "R", Mimetype: "text/x-r-source", FileExtension: ".r", CodemirrorMode: "r", PygmentsLexer: "r"},
	},
	"julia": {
		Command: []string{"julia", "-i", "--color=yes", "-e", "import IJulia; IJulia.run_kernel()", protocol.ConnectionFile},
		Badge:   Badge{"Jl", "#6b4f9e"},
		Info:    &Info{Name: "julia", Mimetype: "application/julia", FileExtension: ".jl", CodemirrorMode: "julia", PygmentsLexer: "julia"},
	},
	"bash": {
		Command: []string{"python3", "-m", "bash_kernel", "-f", protocol.ConnectionFile},
		Badge:   Badge{"$_", "#3d4a3f"},
		Info:    &Info{Name: "bash", Mimetype: "text/x-sh", FileExtension: ".sh", CodemirrorMode: "shell", PygmentsLexer: "bash"},
	},
	"typescript": {
		Command: []string{"deno", "jupyter", "--kernel", "--conn", protocol.ConnectionFile},
		Badge:   Badge{"Ts", "#2c6cb0"},
		Info:    &Info{Name: "typescript", Mimetype: "text/x.typescript", FileExtension: ".ts", CodemirrorMode: "typescript", PygmentsLexer: "typescript", NbconvertExporter: "script"},
	},
	"go": {
		Command: []string{"gonb", "--kernel", protocol.ConnectionFile},
		Badge:   Badge{"Go", "#1f8a9e"}, InterruptMode: protocol.InterruptMessage,
		Info: &Info{Name: "go", Mimetype: "text/x-go", FileExtension: ".go", CodemirrorMode: "go", PygmentsLexer: "go"},
	},
	"c++": {
		Badge: Badge{"C++", "#44618f"},
		Info:  &Info{Name: "c++", Mimetype: "text/x-c++src", FileExtension: ".cpp", CodemirrorMode: "text/x-c++src", PygmentsLexer: "c++"},
	},
	"javascript": {
		Info: &Info{Name: "javascript", Mimetype: "application/javascript", FileExtension: ".js", CodemirrorMode: "javascript", PygmentsLexer: "javascript"},
	},
	"scala": {
		Badge: Badge{"Sc", "#a8323e"}, InterruptMode: protocol.InterruptMessage,
		Info: &Info{Name: "scala", Mimetype: "text/x-scala", FileExtension: ".sc", CodemirrorMode: "text/x-scala", PygmentsLexer: "scala", NbconvertExporter: "script"},
	},
}
