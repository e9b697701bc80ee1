package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"
)

// adapter is how kernels of one implementation are asked.
type adapter interface {
	// boot is the code that loads the adapter's own from a directory.
	boot(files string) string
	// call is the code of one of its functions: begin, busy, save or load. answer is
	// where the result is written, unless it is the value of an expression; stream
	// and options are those of save and load.
	call(files, function, answer, stream string, options map[string]any) string
}

// adapters by the implementation that a kernel_info_reply names.
var adapters = map[string]adapter{"ipython": python{}, "IRkernel": r{}, "bash_kernel": bash{}}

// Keeps reports whether the state of kernels of an implementation can be kept.
func Keeps(implementation string) bool { return adapters[implementation] != nil }

// python is asked by expressions, whose repr is the answer.
type python struct{}

const module = "__import__('_elastichub_keep')"

func (python) boot(files string) string {
	boot := literal(path.Join(files, "boot.py"))
	return fmt.Sprintf(`exec(open(%s).read(), {"__file__": %s})`, boot, boot)
}

func (python) call(_, function, _, stream string, options map[string]any) string {
	if stream == "" {
		return fmt.Sprintf("%s.%s()", module, function)
	}
	return fmt.Sprintf("%s.%s(%s, %s)", module, function, literal(stream), literal(options))
}

// r is asked by silent code. A JSON string is one of R's, too.
type r struct{}

func (r) boot(files string) string {
	return fmt.Sprintf(`if (is.null(getOption("elastichub.keep"))) options(elastichub.keep = local({e <- new.env(parent = baseenv()); sys.source(%s, e); e}))`,
		literal(path.Join(files, "keep.R")))
}

func (r) call(_, function, answer, stream string, options map[string]any) string {
	arguments := []string{literal(answer)}
	if stream != "" {
		arguments = append(arguments, literal(stream))
	}
	for _, name := range []string{"seconds", "max_bytes", "progress"} {
		if value, ok := options[name]; ok {
			arguments = append(arguments, name+" = "+literal(value))
		}
	}
	if without, ok := options["without"].([]int); ok {
		arguments = append(arguments, "without = c("+strings.Trim(literal(without), "[]")+")")
	}
	return fmt.Sprintf(`getOption("elastichub.keep")$%s(%s)`, function, strings.Join(arguments, ", "))
}

// bash is asked by silent code as well; what a user has in his shell stays out of the
// way in a subshell, and the line itself out of his history.
type bash struct{}

func (bash) boot(string) string { return ":" }

func (bash) call(files, function, answer, stream string, options map[string]any) string {
	words := []string{function, answer, stream}
	if limit, ok := options["max_bytes"]; ok {
		words = append(words, literal(limit))
	}
	for i, word := range words {
		words[i] = quoted(word)
	}
	line := fmt.Sprintf("__elastichub=(%s); builtin . %s", strings.Join(words, " "), quoted(path.Join(files, "keep.sh")))
	if function != "load" {
		line = "(" + line + ")"
	}
	return line + " || builtin :; builtin history -d -1"
}

func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// Boot has a process load what it needs to be kept, from a directory with the adapters.
// Nothing is noted by that, and doing it again changes nothing.
func Boot(ctx context.Context, kernel Kernel, files string) error {
	a := adapters[kernel.Implementation()]
	var err error
	if _, evaluates := a.(python); evaluates {
		_, err = kernel.Evaluate(ctx, a.boot(files))
	} else {
		err = kernel.Execute(ctx, a.boot(files))
	}
	if err != nil {
		return fmt.Errorf("keeper: boot: %w", err)
	}
	return nil
}

// call has the kernel call a function of its adapter, and decodes the document that
// this returns.
func (k *Keeper) call(ctx context.Context, kernel Kernel, function, stream string, options map[string]any, document any) error {
	a := adapters[kernel.Implementation()]
	var text string
	var err error
	if _, evaluates := a.(python); evaluates {
		text, err = kernel.Evaluate(ctx, a.call(k.cfg.Files, function, "", stream, options))
	} else {
		text, err = k.execute(ctx, kernel, func(answer string) string {
			return a.call(k.cfg.Files, function, answer, stream, options)
		})
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), document); err != nil {
		return fmt.Errorf("an answer that is no document: %w", err)
	}
	return nil
}

// largestAnswer is more than any report has: that names a hundred things of a sort.
const largestAnswer = 4 << 20

// execute has the kernel run code that writes a line to a path.
func (k *Keeper) execute(ctx context.Context, kernel Kernel, code func(answer string) string) (string, error) {
	p, err := k.pipe("answer")
	if err != nil {
		return "", err
	}
	defer p.close()
	line := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(p.read)
		lines.Buffer(nil, largestAnswer)
		lines.Scan()
		line <- lines.Text()
	}()
	if err := kernel.Execute(ctx, code(p.path)); err != nil {
		return "", err
	}
	_ = p.write.Close()
	_ = p.read.SetReadDeadline(time.Now().Add(lastWords))
	return <-line, nil
}

// literal is a value of JSON without null, which Python reads as its own.
func literal(value any) string {
	text, _ := json.Marshal(value) // strings, numbers and lists of them always encode
	return string(text)
}
