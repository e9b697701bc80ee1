package runner

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	_ "image/gif"  // for their sizes
	_ "image/jpeg" // for their sizes
	_ "image/png"  // for their sizes
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/nbformat"
)

// Screen shows what cells print.
type Screen struct {
	Out, Err io.Writer
	// Colors keeps the colours of tracebacks.
	Colors bool
}

// Say tells something of the run itself.
func (s *Screen) Say(format string, args ...any) { fmt.Fprintf(s.Err, format+"\n", args...) }

var colors = regexp.MustCompile("\x1b\\[[0-9;]*m")

func (s *Screen) stream(name, text string) {
	out := s.Out
	if name == "stderr" {
		out = s.Err
	}
	_, _ = io.WriteString(out, text) // who reads no more is told nothing
}

func (s *Screen) traceback(text string) {
	if !s.Colors {
		text = colors.ReplaceAllString(text, "")
	}
	s.stream("stderr", text+"\n")
}

// noticeBegins is how the HTML of wire.Notice begins.
const noticeBegins = `<div role="status"`

// data shows a display. What the gateway tells of a cell that waits is of the run itself.
func (s *Screen) data(data map[string]string) {
	if strings.HasPrefix(data["text/html"], noticeBegins) {
		s.Say("%s", data["text/plain"])
		return
	}
	if text := plainly(data); text != "" {
		s.stream("stdout", strings.TrimSuffix(text, "\n")+"\n")
	}
}

// plainly is what a terminal shows of a display: text if there is some, and the name of
// what a picture or a page would be.
func plainly(data map[string]string) string {
	var lines []string
	for _, mime := range slices.Sorted(maps.Keys(data)) {
		if strings.HasPrefix(mime, "image/") {
			lines = append(lines, picture(mime, data[mime]))
		}
	}
	for _, mime := range []string{"text/plain", "text/markdown", "text/latex", "application/json"} {
		if text, ok := data[mime]; ok {
			return strings.Join(append(lines, text), "\n")
		}
	}
	if len(lines) == 0 {
		for _, mime := range slices.Sorted(maps.Keys(data)) {
			lines = append(lines, fmt.Sprintf("[%s, %s]", mime, size(len(data[mime]))))
		}
	}
	return strings.Join(lines, "\n")
}

func picture(mime, content string) string {
	raw, err := base64.StdEncoding.DecodeString(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, content))
	if err != nil { // SVG is text
		return fmt.Sprintf("[%s, %s]", mime, size(len(content)))
	}
	if config, _, err := image.DecodeConfig(bytes.NewReader(raw)); err == nil {
		return fmt.Sprintf("[%s %dx%d, %s]", mime, config.Width, config.Height, size(len(raw)))
	}
	return fmt.Sprintf("[%s, %s]", mime, size(len(raw)))
}

func size(bytes int) string {
	switch {
	case bytes < 1000:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1000_000:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1000)
	default:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1000_000)
	}
}

// output shows one of a file.
func (s *Screen) output(o nbformat.Output) {
	switch o.Type() {
	case nbformat.Stream:
		s.stream(o.Name(), o.Text())
	case nbformat.Error:
		s.traceback(o.Traceback())
	default:
		s.data(o.Data())
	}
}

// message shows the content of an iopub message.
func (s *Screen) message(msgType string, content []byte) {
	var said struct {
		Name, Text string
		Traceback  []string
		Data       map[string]json.RawMessage
	}
	if json.Unmarshal(content, &said) != nil {
		return
	}
	switch msgType {
	case nbformat.Stream:
		s.stream(said.Name, said.Text)
	case nbformat.Error:
		s.traceback(strings.Join(said.Traceback, "\n"))
	case nbformat.DisplayData, nbformat.ExecuteResult, "update_display_data":
		data := map[string]string{}
		for mime, raw := range said.Data {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				text = string(raw)
			}
			data[mime] = text
		}
		s.data(data)
	}
}
