// Command kernel is the synthetic kernel as a program of its own, small enough
// to be started a hundred times at once.
package main

import (
	"fmt"
	"os"

	"github.com/elastichub/elastichub/test/bench/synthetic"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kernel CONNECTION_FILE")
		os.Exit(2)
	}
	if err := synthetic.Kernel(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "kernel:", err)
		os.Exit(1)
	}
}
