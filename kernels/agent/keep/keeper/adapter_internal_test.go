package keeper

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWhatKernelsAreAsked is the table of docs/parking-format.md.
func TestWhatKernelsAreAsked(t *testing.T) {
	t.Parallel()
	save := map[string]any{"seconds": 90.0, "record_seconds": 30.0, "max_bytes": int64(5)}
	load := map[string]any{"without": []int{1, 2}, "progress": "/p"}
	for name, each := range map[string]struct{ begin, save, load string }{
		"ipython": {
			`__import__('_elastichub_keep').begin()`,
			`__import__('_elastichub_keep').save("/s", {"max_bytes":5,"record_seconds":30,"seconds":90})`,
			`__import__('_elastichub_keep').load("/s", {"progress":"/p","without":[1,2]})`,
		},
		"IRkernel": {
			`getOption("elastichub.keep")$begin("/a")`,
			`getOption("elastichub.keep")$save("/a", "/s", seconds = 90, max_bytes = 5)`,
			`getOption("elastichub.keep")$load("/a", "/s", progress = "/p", without = c(1,2))`,
		},
		"bash_kernel": {
			`(__elastichub=('begin' '/a' ''); builtin . '/k/keep.sh') || builtin :; builtin history -d -1`,
			`(__elastichub=('save' '/a' '/s' '5'); builtin . '/k/keep.sh') || builtin :; builtin history -d -1`,
			`__elastichub=('load' '/a' '/s'); builtin . '/k/keep.sh' || builtin :; builtin history -d -1`,
		},
	} {
		a := adapters[name]
		require.NotNil(t, a, name)
		assert.Equal(t, each.begin, a.call("/k", "begin", "/a", "", nil))
		assert.Equal(t, each.save, a.call("/k", "save", "/a", "/s", save))
		assert.Equal(t, each.load, a.call("/k", "load", "/a", "/s", load))
	}
	assert.False(t, Keeps("xeus-cling"))
	assert.Len(t, adapters, 3)
}

// TestABashThatIsNotTold what a stream is, is as it was, and says so.
func TestABashThatIsNotTold(t *testing.T) {
	t.Parallel()
	files, err := filepath.Abs("../adapters")
	require.NoError(t, err)
	for name, content := range map[string]string{
		"nothing":          "",
		"another language": stream("H", `{"format":1,"language":"R","variables":1}`) + stream("R", "{}") + stream("P", "x=2") + stream("E", "") + stream("Z", "{}"),
		"no end":           stream("H", `{"format":1,"language":"bash","variables":1}`) + stream("R", "{}") + stream("P", "x=2") + stream("E", ""),
		"a piece of one":   stream("H", `{"format":1,"language":"bash","variables":1}`) + stream("R", "{}") + stream("P", "x=2")[:10],
	} {
		dir := t.TempDir()
		state, answer := filepath.Join(dir, "s"), filepath.Join(dir, "a'b")
		require.NoError(t, os.WriteFile(state, []byte(content), 0o600), name)
		code := "x=1\n" + bash{}.call(files, "load", answer, state, nil) + "\necho $x"
		out, err := exec.Command("bash", "--norc", "-c", code).Output()
		require.NoError(t, err, name)
		assert.Equal(t, "1\n", string(out), name)
		text, err := os.ReadFile(answer)
		require.NoError(t, err, name)
		var report Report
		require.NoError(t, json.Unmarshal(text, &report), "%s: %s", name, text)
		assert.Equal(t, "broken", report.Outcome, name)
	}
}

// stream is a frame.
func stream(letter, content string) string {
	size := len(content)
	return letter + string([]byte{byte(size), byte(size >> 8)}) + strings.Repeat("\x00", 6) + content
}
