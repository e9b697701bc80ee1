package holdings

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Bounds of what is shown of a log.
const (
	MostLogLines = 100
	MostLogBytes = 64 << 10
)

// Log is the end of what a container wrote.
type Log struct {
	Container string   `json:"container"`
	Lines     []string `json:"lines"`
	// Cut: there was more than is shown of these lines.
	Cut bool `json:"cut,omitempty"`
	// Missing says why there are no lines; empty where they could be read.
	Missing LogMissing `json:"missing,omitempty"`
}

// LogMissing is why a log cannot be read.
type LogMissing string

// Why there is none.
const (
	LogGone    LogMissing = "gone"      // the Pod is, and its log with it
	LogWaiting LogMissing = "waiting"   // the container has not started
	LogSilent  LogMissing = "no-answer" // the node does not answer, or too late
)

// LogContainers names the containers of a kernel's or a server's Pod whose logs tell of
// it: ours, or the first one where none is named so.
func LogContainers(pod *corev1.Pod) (names []string) {
	for _, name := range []string{v1alpha1.NotebookContainer, v1alpha1.KernelContainer, v1alpha1.AgentContainer} {
		if slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == name }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && len(pod.Spec.Containers) > 0 {
		names = append(names, pod.Spec.Containers[0].Name)
	}
	return names
}

var (
	// terminal are the sequences by which programs colour what they write, and move about.
	terminal = regexp.MustCompile("\x1b(\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(\x07|\x1b\\\\)?)")
	// secret are values that notebook servers write into their logs, and others into addresses.
	secret = regexp.MustCompile(`(?i)\b((?:[a-z_]*token|password|secret)=)[^&\s"']+`)
)

// LastLines are the last lines of a text, as they can be read: without what moves a
// terminal's cursor, and without tokens in addresses. cut: there was more.
func LastLines(text []byte) (lines []string, cut bool) {
	if len(text) > MostLogBytes {
		text, cut = text[len(text)-MostLogBytes:], true
		if at := bytes.IndexByte(text, '\n'); at >= 0 {
			text = text[at+1:]
		}
	}
	lines = []string{}
	for line := range strings.Lines(strings.ToValidUTF8(string(text), "�")) {
		lines = append(lines, readable(strings.TrimRight(line, "\r\n")))
	}
	if len(lines) > MostLogLines {
		lines, cut = lines[len(lines)-MostLogLines:], true
	}
	return lines, cut
}

func readable(line string) string {
	line = line[strings.LastIndexByte(line, '\r')+1:] // what a progress bar came to
	line = terminal.ReplaceAllString(line, "")
	line = strings.Map(func(c rune) rune {
		switch {
		case c == '\t', unicode.IsPrint(c):
			return c
		case unicode.IsSpace(c):
			return ' '
		}
		return '�'
	}, line)
	return secret.ReplaceAllString(line, "${1}…")
}
