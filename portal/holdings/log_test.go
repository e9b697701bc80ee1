package holdings

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

func TestLastLines(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                 {},
		"a\n\n b\tc\r\n":                   {"a", "", " b\tc"},
		"\x1b[31mred\x1b[0m \x1b]0;x\x07d": {"red d"},
		"10 %\r50 %\r100 %\n":              {"100 %"},
		"back\u202eward \x00 \xff":         {"back�ward � �"},
		"<script>alert(1)</script>":        {"<script>alert(1)</script>"}, // pages escape
		"http://127.0.0.1:8888/lab?token=abc123&x=1": {"http://127.0.0.1:8888/lab?token=…&x=1"},
		"JUPYTERHUB_API_TOKEN=abc PASSWORD='x'":      {"JUPYTERHUB_API_TOKEN=… PASSWORD='x'"},
	} {
		lines, cut := LastLines([]byte(text))
		assert.Equal(t, want, lines, "%q", text)
		assert.False(t, cut)
	}
	var many strings.Builder
	for i := range MostLogLines + 2 {
		fmt.Fprintln(&many, i)
	}
	lines, cut := LastLines([]byte(many.String()))
	assert.True(t, cut)
	assert.Equal(t, []any{MostLogLines, "2", "101"}, []any{len(lines), lines[0], lines[len(lines)-1]})

	lines, cut = LastLines([]byte("first\n" + strings.Repeat("x", MostLogBytes) + "\nlast\n"))
	assert.True(t, cut)
	assert.Equal(t, []string{"last"}, lines, "no half line")
	lines, cut = LastLines([]byte(strings.Repeat("ж", MostLogBytes)))
	assert.True(t, cut)
	assert.LessOrEqual(t, len(lines[0]), MostLogBytes+len("�"))
}

func TestLogContainers(t *testing.T) {
	pod := func(names ...string) *corev1.Pod {
		p := &corev1.Pod{}
		for _, name := range names {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name})
		}
		return p
	}
	assert.Equal(t, []string{"kernel", "agent"}, LogContainers(pod("agent", "kernel", "proxy")))
	assert.Equal(t, []string{"notebook"}, LogContainers(pod("proxy", "notebook")))
	assert.Equal(t, []string{"main"}, LogContainers(pod("main", "other")))
	assert.Empty(t, LogContainers(pod()))
}
