package localcluster

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// SourceDir finds the directory of this module's source, which holds the
// component modules that are built from it. That is where the running binary
// was compiled; for a binary built elsewhere, or with -trimpath, it is the
// checkout around the working directory.
func SourceDir() (string, error) {
	var candidates []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		candidates = append(candidates, filepath.Dir(file))
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			candidates = append(candidates, dir, filepath.Join(dir, "localcluster"))
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, "components", "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("the source of localcluster is not where this binary was built, nor around the working directory: run it from the checkout")
}
