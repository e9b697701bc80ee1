// Package docs holds the pages to what they say: every block that they show is
// run, checked or excused, and every key that they name exists. Its tests need
// Helm; with the build tag e2e (make docs-test) they also type the pages'
// commands beside the running demo.
package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// root is the checkout.
const root = "../.."

// notes is the one page that is a template.
const notes = "charts/elastichub/templates/NOTES.txt"

// Block is what a page shows apart from its text: between fences, or indented
// in the chart's notes.
type Block struct {
	Page string
	Line int
	// Language is what stands behind the opening fence.
	Language string
	Text     string
}

func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

// First is the first line, which tells a page's blocks apart.
func (b Block) First() string {
	first, _, _ := strings.Cut(b.Text, "\n")
	return first
}

// File is the name that a comment in the first line gives, "" if it gives none.
func (b Block) File() string {
	words := strings.FieldsFunc(strings.TrimPrefix(b.First(), "#"), func(r rune) bool { return r == ' ' || r == ',' })
	if !strings.HasPrefix(b.First(), "# ") || len(words) == 0 {
		return ""
	}
	if ext := filepath.Ext(words[0]); ext != ".yaml" && ext != ".py" {
		return ""
	}
	return words[0]
}

// Pages are the documents for people who install, use and work on elastichub,
// relative to the checkout.
func Pages() ([]string, error) {
	pages := []string{notes}
	for _, pattern := range []string{"*.md", "*/README.md", "charts/*/README.md", "docs/*.md", "docs/adr/*.md", "test/*/README.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			page, err := filepath.Rel(root, path)
			if err != nil {
				return nil, err
			}
			pages = append(pages, page)
		}
	}
	slices.Sort(pages)
	return pages, nil
}

// ReadPage returns a page's blocks, and its text without them.
func ReadPage(page string) ([]Block, string, error) {
	raw, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		return nil, "", err
	}
	if page == notes {
		blocks, text := indented(page, string(raw))
		return blocks, text, nil
	}
	return fenced(page, string(raw))
}

func fenced(page, raw string) (blocks []Block, text string, err error) {
	var prose strings.Builder
	var open *Block
	var indent string
	for i, line := range strings.Split(raw, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		fence := strings.HasPrefix(trimmed, "```")
		switch {
		case fence && open == nil:
			indent = line[:len(line)-len(trimmed)]
			open = &Block{Page: page, Line: i + 1, Language: strings.TrimSpace(strings.TrimLeft(trimmed, "`"))}
		case fence:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent) + "\n"
		default:
			prose.WriteString(line + "\n")
		}
	}
	if open != nil {
		return nil, "", fmt.Errorf("%s: the block is not closed", open)
	}
	return blocks, prose.String(), nil
}

// indented blocks are Python where they begin with "c.", else commands.
func indented(page, raw string) (blocks []Block, text string) {
	var prose strings.Builder
	var open *Block
	flush := func() {
		if open != nil {
			blocks, open = append(blocks, *open), nil
		}
	}
	for i, line := range strings.Split(raw, "\n") {
		inner, is := strings.CutPrefix(line, "  ")
		if !is {
			flush()
			prose.WriteString(line + "\n")
			continue
		}
		if open == nil {
			open = &Block{Page: page, Line: i + 1, Language: "sh"}
			if strings.HasPrefix(inner, "c.") {
				open.Language = "python"
			}
		}
		open.Text += inner + "\n"
	}
	flush()
	return blocks, prose.String()
}
