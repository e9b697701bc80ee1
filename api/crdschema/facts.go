package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/kindfields"
)

// fact is what kubectl explain tells of a field in words that are the same everywhere.
type fact struct {
	// unit of its number; def is what holds where the field is left out; example is a value.
	unit, def, example string
}

const (
	seconds = "seconds"
	bytes   = "bytes"
	ofPod   = "what the Pod's image says"
)

// facts are by the end of a field's path: the longest that there is counts.
var facts = map[string]fact{
	// JupyterNotebook
	"JupyterNotebook.spec.stopped":             {"", "false", ""},
	"JupyterNotebook.spec.user":                {"", "nobody: a server without JupyterHub", "alice"},
	"JupyterNotebook.spec.server":              {"", "empty: the user's default server", "gpu-work"},
	"JupyterNotebook.spec.start":               {"", "empty: a server without JupyterHub", "4f1c"},
	"JupyterNotebook.spec.envSecret":           {"", "none", "my-variables"},
	"JupyterNotebook.spec.sslSecret":           {"", "none: the server speaks HTTP", "my-certificates"},
	"JupyterNotebook.spec.maxRunSeconds":       {seconds, "0: for ever", "86400"},
	"JupyterNotebook.spec.serversPerUser":      {"number of servers", "0: no limit", "2"},
	"JupyterNotebook.spec.imageChannel":        {"", "none", "stable"},
	"auth.mode":                                {"", "enable", ""},
	"auth.token":                               {"", "none", "a text of 64 hexadecimal digits"},
	"auth.password":                            {"", "none", "argon2:$argon2id$v=19$m=10240,t=10,p=8$…"},
	"idleStop.seconds":                         {seconds, "1800", "1800"},
	"idleStop.snoozeMaxSeconds":                {seconds, "14400, four hours", "7200"},
	"kernelOptions.policies":                   {"", "", "[ml-research]"},
	"kernelOptions.groups":                     {"", "", "[ml]"},
	"kernelOptions.idleTimeoutSeconds":         {seconds, "the gateway's cullIdleTimeout", "600"},
	"storage.home.claim":                       {"", "home- and the notebook's name", "home-alice"},
	"storage.home.static.claim":                {"", "", "homes"},
	"storage.home.static.subPath":              {"", "", "\"{username}\""},
	"storage.home.size":                        {bytes, "none: required without static", "10Gi"},
	"storage.home.storageClassName":            {"", "the cluster's default class", "standard"},
	"storage.home.accessModes":                 {"", "[ReadWriteOnce]", "[ReadWriteMany]"},
	"storage.home.onRemoval":                   {"", "that of one server is deleted, others are kept", "keep"},
	"storage.home.mountPath":                   {"", "/home/jovyan", "/home/jovyan"},
	"storage.home.labels":                      {"", "none", "{team: ml}"},
	"storage.home.annotations":                 {"", "none", "{backup.example.org/keep: \"30\"}"},
	"storage.shared[].name":                    {"", "", "datasets"},
	"storage.shared[].claim":                   {"", "", "datasets"},
	"storage.shared[].mountPath":               {"", "", "/data"},
	"storage.shared[].readOnly":                {"", "false", ""},
	"serviceAccountTokens[].audience":          {"", "", "sts.amazonaws.com"},
	"serviceAccountTokens[].path":              {"", "", "aws"},
	"serviceAccountTokens[].expirationSeconds": {seconds, "3600", "7200"},
	"JupyterNotebook.status.snoozedSeconds":    {seconds, "", ""},
	"status.progress[].id":                     {"number of the entry", "", ""},
	"status.progress[].percent":                {"percent", "", ""},
	"status.progress[].expectedSeconds":        {seconds, "", ""},

	// JupyterGateway
	"JupyterGateway.spec.kernels":               {"", "[python_kubernetes], which is built in", "[python-cpu, python-gpu]"},
	"JupyterGateway.spec.defaultKernel":         {"", "the first of kernels", "python-cpu"},
	"JupyterGateway.spec.cullIdleTimeout":       {seconds, "3600", "600"},
	"JupyterGateway.spec.cullInterval":          {seconds, "none, since it has no effect", "10"},
	"JupyterGateway.spec.cullConnected":         {"", "true", ""},
	"JupyterGateway.spec.logLevel":              {"", "INFO", ""},
	"JupyterGateway.spec.image":                 {"", "that of the service", "registry.example.org/elastichub:1.2.3"},
	"JupyterGateway.spec.clusterRole":           {"", "none", "view"},
	"JupyterGateway.spec.replicas":              {"number of Pods", "1", "2"},
	"JupyterGateway.spec.onIdle":                {"", "park", ""},
	"JupyterGateway.spec.warm":                  {"number of kernels", "0", "2"},
	"JupyterGateway.spec.yieldIdleSeconds":      {seconds, "0: no kernel yields", "60"},
	"JupyterGateway.spec.parkNoticeSeconds":     {seconds, "60", "30"},
	"JupyterGateway.spec.allowedNamespaces":     {"", "none but its own", "[team-a, team-b]"},
	"auth.clients[].name":                       {"", "", "ci"},
	"auth.clients[].policies":                   {"", "none", "[ml-research]"},
	"iopub.messagesPerSecond":                   {"messages", "0: unlimited", "1000"},
	"iopub.bytesPerSecond":                      {bytes, "0: unlimited", "10000000"},
	"JupyterGateway.spec.keep.enabled":          {"", "kernels.keep.enabled of the chart", ""},
	"JupyterGateway.spec.keep.idleSeconds":      {seconds, "kernels.keep.idleSeconds of the chart", "300"},
	"JupyterGateway.spec.keep.maxBytes":         {bytes, "kernels.keep.maxBytes of the chart", "8Gi"},
	"JupyterGateway.spec.keep.ttl":              {"hours, minutes and seconds", "kernels.keep.ttl of the chart", "168h"},
	"keep.enabled":                              {"", "what the gateway says, and where it does not, kernels.keep.enabled of the chart", ""},
	"keep.idleSeconds":                          {seconds, "what the gateway says, and where it does not, kernels.keep.idleSeconds of the chart", "300"},
	"keep.maxBytes":                             {bytes, "what the gateway says, and where it does not, kernels.keep.maxBytes of the chart", "8Gi"},
	"keep.ttl":                                  {"hours, minutes and seconds", "what the gateway says, and where it does not, kernels.keep.ttl of the chart", "168h"},
	"keep.onYield":                              {"", "any", ""},
	"keep.claim":                                {"", "none: the home volume", "kept-kernels"},
	"warmKernels[].kernelSpec":                  {"", "", "python-gpu"},
	"warmKernels[].count":                       {"number of kernels", "", "1"},
	"warmKernels[].policies":                    {"", "none", "[ml-research]"},
	"JupyterGateway.status.replicas":            {"number of Pods", "", ""},
	"JupyterGateway.status.updatedReplicas":     {"number of Pods", "", ""},
	"JupyterGateway.status.readyReplicas":       {"number of Pods", "", ""},
	"JupyterGateway.status.availableReplicas":   {"number of Pods", "", ""},
	"JupyterGateway.status.unavailableReplicas": {"number of Pods", "", ""},
	"JupyterGateway.status.terminatingReplicas": {"number of Pods", "", ""},
	"JupyterGateway.status.collisionCount":      {"number of collisions", "", ""},

	// JupyterKernel
	"JupyterKernel.spec.gateway":            {"", "none: a Pod that no gateway serves", "shared"},
	"JupyterKernel.spec.gatewayNamespace":   {"", "empty: the kernel's own namespace", "shared"},
	"JupyterKernel.spec.kernelSpec":         {"", "none: template is run", "python-gpu"},
	"JupyterKernel.spec.notebook":           {"", "none", "jupyter-alice"},
	"JupyterKernel.spec.user":               {"", "nobody", "alice"},
	"JupyterKernel.spec.policies":           {"", "none", "[ml-research]"},
	"JupyterKernel.spec.workingDir":         {"", ofPod, "/home/jovyan/work"},
	"JupyterKernel.spec.environment":        {"", "none: the Python of the image", "/home/jovyan/envs/torch"},
	"JupyterKernel.spec.run":                {"number of runs", "0, which counts as 1", "2"},
	"JupyterKernel.spec.idleTimeoutSeconds": {seconds, "the gateway's cullIdleTimeout", "600"},
	"JupyterKernel.spec.queuePriority":      {"number; a higher one goes first", "0", "10"},
	"session.id":                            {"", "none", "5c2b0a9e-93f9-4a3c-8a57-0d2f4f2a6a11"},
	"session.path":                          {"", "none", "work/train.ipynb"},
	"session.name":                          {"", "none", "train.ipynb"},
	"session.type":                          {"", "none", "notebook"},
	"park.run":                              {"number of the run", "0: none", "2"},
	"park.force":                            {"", "false", ""},
	"park.by":                               {"", "nobody is named", "admin"},
	"park.reason":                           {"", "none", "The node is needed."},
	"queueMove.run":                         {"number of the run", "0: none", "2"},
	"queueMove.by":                          {"", "nobody is named", "admin"},
	"queueMove.reason":                      {"", "none", "A deadline of tomorrow."},
	"shutdown.by":                           {"", "nobody is named", "notebook"},
	"shutdown.at":                           {"", "none", ""},
	"JupyterKernel.status.run":              {"number of the run", "", ""},
	"JupyterKernel.status.failures":         {"number of runs", "", ""},
	"JupyterKernel.status.snoozedSeconds":   {seconds, "", ""},
	"kept.run":                              {"number of the run", "", ""},
	"kept.variables":                        {"number of variables", "", ""},
	"kept.bytes":                            {bytes, "", ""},
	"queue.position":                        {"number of the place, from 1", "", ""},
	"queue.length":                          {"number of kernels", "", ""},

	// JupyterKernelSpec
	"JupyterKernelSpec.spec.language":           {"", "Python", "R"},
	"JupyterKernelSpec.spec.displayName":        {"", "the object's name", "Python 3 (GPU)"},
	"JupyterKernelSpec.spec.image":              {"", "that of the template's container; one of the two has to be there", "registry.example.org/kernel-py:1.2.3"},
	"JupyterKernelSpec.spec.command":            {"", "the standard command of the language", `[python3, -m, ipykernel_launcher, -f, "{connection_file}"]`},
	"JupyterKernelSpec.spec.className":          {"", "none, since it has no effect", "enterprise_gateway.services.processproxies.kubeflow.KubeflowProcessProxy"},
	"JupyterKernelSpec.spec.idleTimeoutSeconds": {seconds, "the gateway's cullIdleTimeout", "600"},
	"JupyterKernelSpec.spec.logo":               {"", "the gateway's own for the language", "data:image/png;base64,iVBORw0KGgo="},
	"JupyterKernelSpec.spec.keep":               {"", "what policy, gateway and chart say", ""},
	"JupyterKernelSpec.spec.interruptMode":      {"", "auto", ""},
	"JupyterKernelSpec.spec.shmSize":            {bytes, "the container's limit of memory", "2Gi"},

	// GroupPolicy
	"GroupPolicy.spec.displayName":        {"", "the object's name", "ML research"},
	"GroupPolicy.spec.groups":             {"", "none", "[ml, \"CN=ML,OU=Groups,DC=example,DC=org\"]"},
	"GroupPolicy.spec.default":            {"", "false", ""},
	"GroupPolicy.spec.priority":           {"number; a higher one goes first", "0", "10"},
	"cpu.min":                             {"cores", "", "1"},
	"cpu.max":                             {"cores", "", "8"},
	"cpu.step":                            {"cores", "1", "500m"},
	"cpu.default":                         {"cores", "min", "2"},
	"cpu.requestRatio":                    {"", "0.33", "0.5"},
	"memory.min":                          {bytes, "", "1Gi"},
	"memory.max":                          {bytes, "", "64Gi"},
	"memory.step":                         {bytes, "1Gi", "512Mi"},
	"memory.default":                      {bytes, "min", "4Gi"},
	"memory.requestRatio":                 {"", "1", "0.5"},
	"images[].id":                         {"", "", "stable"},
	"images[].displayName":                {"", "the id", "Stable"},
	"images[].description":                {"", "none", "Python 3.12, what everybody uses"},
	"images[].image":                      {"", "", "registry.example.org/notebook:1.2.3"},
	"images[].hidden":                     {"", "false", ""},
	"images[].redirect.to":                {"", "", "next"},
	"images[].redirect.message":           {"", "none", "Python 3.10 ends in June."},
	"presets[].name":                      {"", "", "small"},
	"presets[].title":                     {"", "the name", "Small"},
	"presets[].cpu":                       {"cores", "", "2"},
	"presets[].memory":                    {bytes, "", "4Gi"},
	"presets[].description":               {"", "none", "For looking at data"},
	"help.server":                         {"", "none", "{en: Stop what you do not use.}"},
	"help.cpu":                            {"", "none", "{en: A kernel has cores of its own.}"},
	"help.memory":                         {"", "none", "{en: What your tables need.}"},
	"help.image":                          {"", "none", "{en: Stable is for most.}"},
	"help.kernels":                        {"", "none", "{en: GPUs are lent while they compute.}"},
	"GroupPolicy.spec.nodeSelector":       {"", "none", "{pool: notebooks}"},
	"GroupPolicy.spec.priorityClassName":  {"", "none", "research"},
	"GroupPolicy.spec.schedulerName":      {"", "the cluster's own", "user-scheduler"},
	"imagePullSecrets[].name":             {"", "", "registry"},
	"GroupPolicy.spec.env[].name":         {"", "", "MLFLOW_TRACKING_URI"},
	"GroupPolicy.spec.env[].value":        {"", "empty", "http://mlflow.example.org"},
	"GroupPolicy.spec.serversPerUser":     {"number of servers", "0, which means one", "2"},
	"GroupPolicy.spec.serverIdleSeconds":  {seconds, "0: never", "1800"},
	"GroupPolicy.spec.maxRunSeconds":      {seconds, "0: for ever", "86400"},
	"GroupPolicy.spec.helpText":           {"", "none", "Ask in the channel jupyter"},
	"GroupPolicy.spec.snoozeMaxSeconds":   {seconds, "14400, four hours", "7200"},
	"GroupPolicy.spec.serviceAccountName": {"", "none", "bucket"},
	"pod.labels":                          {"", "none", "{team: ml}"},
	"pod.annotations":                     {"", "none", "{sidecar.istio.io/inject: \"false\"}"},
	"pod.extraResources":                  {"", "none", "{example.org/fpga: 1}"},
	"budget[].resource":                   {"", "", "nvidia.com/gpu"},
	"budget[].hours":                      {"hours of one unit of the resource", "", "40"},
	"window.rolling":                      {"hours, minutes and seconds", "none", "168h"},
	"window.calendar":                     {"", "none", ""},
	"window.timeZone":                     {"", "UTC", "Europe/Berlin"},
	"kernels.allowed":                     {"", "none", "[python-cpu, python-gpu]"},
	"kernels.gpuResource":                 {"", "nvidia.com/gpu", "nvidia.com/mig-1g.5gb"},
	"kernels.gpusPerKernel":               {"number of GPUs", "0: none", "1"},
	"kernels.gpusPerUser":                 {"number of GPUs", "0: none", "2"},
	"kernels.gpuPool":                     {"number of GPUs", "unlimited", "8"},
	"kernels.perUser":                     {"number of kernels", "0: no limit", "5"},
	"kernels.atLimit":                     {"", "queue", ""},
	"kernels.idleSeconds":                 {seconds, "0: the gateway's cullIdleTimeout", "600"},
	"kernels.maxRunSeconds":               {seconds, "kernels.maxRunSeconds of the chart", "86400"},
	"kernels.weight":                      {"number; twice as much is a share twice as large", "0, which means 1", "2"},
	"kernels.onBudget":                    {"", "whole", ""},
	"kernels.ownEnvironments":             {"", "false", ""},
	"GroupPolicy.status.servers":          {"number of servers", "", ""},
	"GroupPolicy.status.kernels":          {"number of kernels", "", ""},
	"GroupPolicy.status.gpus":             {"number of GPUs", "", ""},
	"GroupPolicy.status.queued":           {"number of kernels", "", ""},
	"GroupPolicy.status.users":            {"number of users", "", ""},
	"GroupPolicy.status.usersAtLimit":     {"number of users", "", ""},

	"status.observedGeneration": {"number of the generation", "", ""},
}

// explain adds the facts of our own fields to their descriptions, and what there is to
// tell of every field of a type.
func explain(kind string, root schema) error {
	for _, f := range kindfields.All() {
		name, path, _ := strings.Cut(f.Path, ".")
		if name != kind {
			continue
		}
		s, err := field(root, path)
		if err != nil {
			return err
		}
		told := factOf(f.Path)
		if f.Type == reflect.TypeFor[metav1.Time]() || f.Type == reflect.TypeFor[metav1.MicroTime]() {
			told.unit, told.example = "a time of RFC 3339", "2026-11-29T13:00:00Z"
		}
		said, _ := s["description"].(string)
		for _, part := range []struct{ name, text string }{{"Unit", told.unit}, {"Default", told.def}, {"Example", told.example}} {
			if part.text != "" {
				said = strings.TrimRight(said, "\n") + "\n" + part.name + ": " + strings.TrimSuffix(part.text, ".") + "."
			}
		}
		s["description"] = strings.TrimPrefix(said, "\n")
	}
	return nil
}

// unusedFacts are those that tell of no field, by mistake.
func unusedFacts() []string {
	unused := slices.Collect(maps.Keys(facts))
	for _, f := range kindfields.All() {
		end := factEnd(f.Path)
		unused = slices.DeleteFunc(unused, func(known string) bool { return known == end })
	}
	return unused
}

func factOf(path string) fact {
	end := factEnd(path)
	return facts[end]
}

// factEnd finds the longest end of a path that something is told of; empty: none.
func factEnd(path string) string {
	for end := path; end != ""; _, end, _ = strings.Cut(end, ".") {
		if _, found := facts[end]; found {
			return end
		}
	}
	return ""
}

// field is the schema of a path within a kind; items of lists have [].
func field(at schema, path string) (schema, error) {
	for name := range strings.SplitSeq(path, ".") {
		name, isList := strings.CutSuffix(name, "[]")
		next, err := property(at, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if at = next; isList {
			items, ok := next["items"].(schema)
			if !ok {
				return nil, fmt.Errorf("%s: no items", path)
			}
			at = items
		}
	}
	return at, nil
}
