package podspec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// mountNotebook gives a kernel the volumes of its notebook at the same paths,
// and the working directory of its notebook file. A mount of the template at
// one of these paths gives way.
func mountNotebook(spec *corev1.PodSpec, main *corev1.Container, in Parts) error {
	if in.Notebook == nil {
		return nil
	}
	object := "JupyterNotebook " + in.Notebook.Name
	if fault := podrules.StorageFault(in.Notebook.Spec.Storage); fault != nil {
		return invalid("spec.storage."+fault.Path, "%s", fault.Problem).in(object)
	}
	claims := podrules.Claims(in.Notebook)
	if len(claims) == 0 {
		return nil
	}
	home := v1alpha1.DefaultHome
	if h := in.Notebook.Spec.Storage.Home; h != nil {
		home = h.Path()
	}
	for i := range claims {
		claim := &claims[i]
		for _, taken := range []string{agentDir, keyDir} {
			if below(claim.Path, taken) || below(taken, claim.Path) {
				return invalid("spec.storage", "the mount path %s is needed for the agent", claim.Path).in(object)
			}
		}
		// A kernel's template may have a volume of the name that it has in the notebook.
		claim.Volume = fmt.Sprintf("notebook-%d", i)
	}
	podrules.Mount(spec, main, claims)
	main.WorkingDir = workingDir(in.Kernel.Spec.WorkingDir, home, claims)
	return nil
}

// workingDir is the wish if it lies on one of the mounts, else home.
func workingDir(wish, home string, claims []podrules.Claim) string {
	if wish != "" && path.IsAbs(wish) && slices.ContainsFunc(claims, func(c podrules.Claim) bool { return below(path.Clean(wish), c.Path) }) {
		return path.Clean(wish)
	}
	return home
}

// below tells whether a is dir or lies in it; both are clean.
func below(a, dir string) bool {
	return a == dir || strings.HasPrefix(a, strings.TrimSuffix(dir, "/")+"/")
}
