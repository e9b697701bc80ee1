// Command preflight says what keeps the demo from running on a cluster that exists, a line
// for each with the fix, before anything is built for it. It changes nothing.
package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// preflightTime is how long the cluster and the registry may take together.
const preflightTime = 20 * time.Second

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: preflight KUBECONFIG NAMESPACE REGISTRY")
		os.Exit(2)
	}
	s := site{kubeconfig: os.Args[1], namespace: os.Args[2], registry: os.Args[3]}
	ctx, cancel := context.WithTimeout(context.Background(), preflightTime)
	defer cancel()
	report := s.examine(ctx)
	if len(report.Problems) > 0 {
		_ = report.WriteText(os.Stderr)
		cancel()
		os.Exit(1)
	}
	for _, note := range report.NotChecked {
		fmt.Println(note)
	}
}
