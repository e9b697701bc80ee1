package podspec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/podrules"
)

// mountNotebook gives a kernel the volumes of its notebook at the same paths. A
// mount of the template at one of these paths gives way. It returns the
// arguments of run-kernel about the working directory of the notebook file:
// what the container runtime is told, it makes where it is missing, for root.
func mountNotebook(spec *corev1.PodSpec, main *corev1.Container, in Parts) (runKernel []string, err error) {
	if in.Notebook == nil {
		return nil, nil
	}
	object := "JupyterNotebook " + in.Notebook.Name
	if fault := podrules.StorageFault(in.Notebook.Spec.Storage); fault != nil {
		return nil, invalid("spec.storage."+fault.Path, "%s", fault.Problem).in(object)
	}
	claims := podrules.Claims(in.Notebook)
	if len(claims) == 0 {
		return nil, nil
	}
	for i := range claims {
		claim := &claims[i]
		for _, taken := range []string{agentDir, keyDir, protocol.RunDirectory} {
			if below(claim.Path, taken) || below(taken, claim.Path) {
				return nil, invalid("spec.storage", "the mount path %s is needed for the agent", claim.Path).in(object)
			}
		}
		// A kernel's template may have a volume of the name that it has in the notebook.
		claim.Volume = fmt.Sprintf("notebook-%d", i)
	}
	podrules.Mount(spec, main, claims)
	if h := in.Notebook.Spec.Storage.Home; h != nil {
		main.WorkingDir = h.Path()
	}
	wish := in.directory()
	if wish == nil {
		return nil, nil
	}
	runKernel = []string{"--working-dir", podrules.Literal(wish.Path)}
	for _, root := range wish.Roots {
		runKernel = append(runKernel, "--root", podrules.Literal(root))
	}
	return runKernel, nil
}

// directory is where the kernel is to run, nil if that is where its container does.
func (in Parts) directory() *protocol.Directory {
	if in.Notebook == nil {
		return nil
	}
	claims := podrules.Claims(in.Notebook)
	wish := &protocol.Directory{Path: path.Clean(in.Kernel.Spec.WorkingDir)}
	if !path.IsAbs(wish.Path) || !slices.ContainsFunc(claims, func(c podrules.Claim) bool { return below(wish.Path, c.Path) }) {
		return nil
	}
	for _, claim := range claims {
		wish.Roots = append(wish.Roots, claim.Path)
	}
	return wish
}

// below reports whether a is dir or lies in it; both are clean.
func below(a, dir string) bool {
	return a == dir || strings.HasPrefix(a, strings.TrimSuffix(dir, "/")+"/")
}
