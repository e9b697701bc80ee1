package runkernel

import "strconv"

// threadVariables tell libraries how many threads they may run. Without them most
// run one for each core of the node, which get in each other's way where the
// container may use one. PYTHON_CPU_COUNT is os.cpu_count() from Python 3.13 on.
var threadVariables = []string{
	"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
	"NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "PYTHON_CPU_COUNT",
}

// threadEnv sets the variables for a limit of so many cores; 0: no limit, no variables.
func threadEnv(cores int) []string {
	if cores == 0 {
		return nil
	}
	var env []string
	for _, name := range threadVariables {
		env = append(env, name+"="+strconv.Itoa(cores))
	}
	return env
}
