package apiserver

import (
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Environment is of a real API server with the kinds of these directories, which is given the time that it needs beside
// others.
func Environment(kinds ...string) *envtest.Environment {
	env := &envtest.Environment{ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: time.Minute}
	env.CRDInstallOptions = envtest.CRDInstallOptions{Paths: kinds, ErrorIfPathMissing: true, MaxTime: time.Minute}
	return env
}
