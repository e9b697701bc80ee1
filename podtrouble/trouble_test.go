package podtrouble_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/podtrouble"
)

// translations is a table of texts and what becomes of them; an empty one is not known.
func translations(t *testing.T, translate func(string) (string, bool), table map[string]string) {
	t.Helper()
	for message, want := range table {
		got, known := translate(message)
		assert.Equal(t, want != "", known, message)
		if want == "" {
			want = message
		}
		assert.Equal(t, want, got, message)
	}
}

func TestPassing(t *testing.T) {
	t.Parallel()
	const pod = `pods "k-1" is forbidden: `
	for message, want := range map[string]string{
		pod + "exceeded quota: team, requested: pods=1, used: pods=4, limited: pods=4":                                                       "QuotaExceeded",
		`secrets "k-1" is forbidden: exceeded quota: team, requested: secrets=1, used: secrets=4, limited: secrets=4`:                        "QuotaExceeded",
		`Internal error occurred: failed calling webhook "w.example.org": context deadline exceeded`:                                         "WebhookUnavailable",
		pod + "failed quota: q: must specify limits.cpu for: notebook":                                                                       "",
		pod + "exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=2":                                  "QuotaExceeded",
		pod + "exceeded quota: q, requested: requests.cpu=32,pods=1, used: requests.cpu=0,pods=0, limited: requests.cpu=16,pods=9":           "",
		pod + "exceeded quota: q, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=0": "",
		pod + "exceeded quota: closed, requested: pods=1, used: pods=0, limited: pods=0":                                                     "QuotaExceeded",
		pod + "exceeded quota: closed, requested: count/pods=1, used: count/pods=0, limited: count/pods=0":                                   "QuotaExceeded",
		`admission webhook "w.example.org" denied the request: no`:                                                                           "",
		`pods "k-1" already exists`: "",
	} {
		assert.Equal(t, want, podtrouble.Passing(message), message)
	}
}

// The texts are those of the API server's admission plugins (ResourceQuota, LimitRanger,
// PodSecurity, webhooks, ValidatingAdmissionPolicy, ServiceAccount, Priority, NamespaceLifecycle).
func TestUnmade(t *testing.T) {
	t.Parallel()
	const pod = `pods "jupyter-alice-7d9c5b8f4-abcde" is forbidden: `
	translations(t, podtrouble.Unmade, map[string]string{
		pod + "exceeded quota: team, requested: requests.cpu=8, used: requests.cpu=10, limited: requests.cpu=16": "the quota team of its namespace leaves too little: it asks for 8 more of requests.cpu, of which 10 of 16 are used. " +
			"Choose less, stop what is not needed there, or have an administrator raise the quota.",
		"Error creating: " + pod + "exceeded quota: q, requested: limits.memory=2Gi,pods=1, used: limits.memory=1Gi,pods=4, limited: limits.memory=2Gi,pods=4": "the quota q of its namespace leaves too little: it asks for " +
			"2Gi more of limits.memory, of which 1Gi of 2Gi are used and 1 more of pods, of which 4 of 4 are used. Choose less, stop what is not needed there, or have an administrator raise the quota.",
		pod + "exceeded quota: team, requested: limits.memory=64Gi,pods=1,requests.cpu=8, used: limits.memory=0,pods=2,requests.cpu=10, limited: limits.memory=32Gi,pods=9,requests.cpu=16": "the quota team of its namespace never leaves enough: " +
			"it asks for 64Gi of limits.memory, where the whole quota is 32Gi. Choose less, or have an administrator raise the quota.",
		pod + "failed quota: q: must specify limits.cpu for: notebook; limits.memory for: notebook": "the quota q of its namespace counts what it does not set (limits.cpu for: notebook; limits.memory for: notebook): " +
			"an administrator sets that in the policy, or by a LimitRange.",
		pod + "maximum cpu usage per Container is 4, but limit is 8": "a LimitRange of its namespace does not allow it: cpu for each Container has to be at most 4, and the limit is 8. Choose another size, or ask an administrator.",
		pod + "[maximum cpu usage per Container is 4, but limit is 8, minimum memory usage per Pod is 1Gi.  No request is specified]": "a LimitRange of its namespace does not allow it: " +
			"cpu for each Container has to be at most 4, and the limit is 8; memory for each Pod has to be at least 1Gi, and none is set. Choose another size, or ask an administrator.",
		pod + "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000": "a LimitRange of its namespace does not allow it: " +
			"the limit of cpu for each Container may be 2 times what is requested, and is 4 times. Choose another size, or ask an administrator.",
		pod + `violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "notebook" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or container "notebook" must set securityContext.runAsNonRoot=true)`: "its namespace takes only Pods of the Pod Security Standard restricted:latest: " +
			`allowPrivilegeEscalation != false (container "notebook" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or container "notebook" must set securityContext.runAsNonRoot=true). ` +
			"An administrator changes what the policy makes of the Pod, or the namespace's label pod-security.kubernetes.io/enforce.",
		pod + `ValidatingAdmissionPolicy 'images.example.org' with binding 'images' denied request: only images of registry.example.org`: "the cluster's admission policy images.example.org does not allow it: only images of registry.example.org.",
		pod + `error looking up service account hub/data: serviceaccount "data" not found`:                                               "there is no service account data in the namespace hub: an administrator makes it, or has the policy name another.",
		pod + "no PriorityClass with name high was found":                                                                                "there is no priority class high: an administrator makes it, or has the policy name another.",
		pod + "unable to create new content in namespace hub because it is being terminated":                                             "the namespace hub is being deleted.",
		`admission webhook "validate.kyverno.svc-fail" denied the request: no latest tag`:                                                "the cluster's admission webhook validate.kyverno.svc-fail does not allow it: no latest tag.",
		`admission webhook "w.example.org" denied the request without explanation`:                                                       "the cluster's admission webhook w.example.org does not allow it: it does not say why.",
		`Internal error occurred: failed calling webhook "w.example.org": failed to call webhook: Post "https://w.policy.svc:443/validate?timeout=10s": context deadline exceeded`: "the cluster's admission webhook w.example.org does not answer, and nothing is made without it: an administrator looks at it " +
			`(failed to call webhook: Post "https://w.policy.svc:443/validate?timeout=10s": context deadline exceeded).`,
		pod + "something new": "",
		pod + "[maximum cpu usage per Container is 4, but limit is 8, something new]": "",
		"etcdserver: request timed out":                                               "",
		"":                                                                            "",
	})
}

// The texts are containerd's and CRI-O's as the kubelet hands them on, and its own.
func TestUnpulled(t *testing.T) {
	t.Parallel()
	const image = "registry.example.org/team/lab:2026"
	const failed = `rpc error: code = Unknown desc = failed to pull and unpack image "` + image + `": failed to resolve reference "` + image + `": `
	absent := "the registry registry.example.org has no such image. Choose another image, or have an administrator correct its name or tag."
	unreached := "the registry registry.example.org is not reached from the node. Try again later; if that does not help, an administrator looks at the registry and the network."
	shut := "the registry registry.example.org does not let the node in. An administrator adds a pull secret to the policy, or renews it."
	limited := "the registry registry.example.org gives out no more for now (rate limit). Try again later; an administrator can give it a pull secret or a mirror."
	translations(t, func(message string) (string, bool) { return podtrouble.Unpulled(image, message) }, map[string]string{
		`rpc error: code = NotFound desc = failed to pull and unpack image "` + image + `": failed to resolve reference "` + image + `": ` + image + ": not found": absent,
		"reading manifest 2026 in registry.example.org/team/lab: manifest unknown":                                                                                 absent,
		`Back-off pulling image "` + image + `": ErrImagePull: ` + failed + image + ": not found":                                                                  absent,
		failed + "unexpected status from HEAD request to https://registry.example.org/v2/team/lab/manifests/2026: 401 Unauthorized":                                shut,
		failed + "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://auth.example.org/token: 403 Forbidden":       shut,
		failed + "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed": "the registry registry.example.org does not give it out: " +
			"there is no such image, or it takes a pull secret. Choose another image, or have an administrator add the secret to the policy.",
		failed + `failed to do request: Head "https://registry.example.org/v2/team/lab/manifests/2026": dial tcp: lookup registry.example.org on 10.96.0.10:53: no such host`: unreached,
		failed + `failed to do request: Head "https://registry.example.org/v2/team/lab/manifests/2026": dial tcp 192.0.2.7:443: i/o timeout`:                                  unreached,
		failed + `failed to do request: Head "https://registry.example.org/v2/team/lab/manifests/2026": dial tcp 192.0.2.7:443: connect: connection refused`:                  unreached,
		"image pull failed for " + image + " because the registry is unavailable":                                                                                             unreached,
		`rpc error: code = ResourceExhausted desc = failed to pull and unpack image "` + image + `": failed to copy: httpReadSeeker: failed open: unexpected status code https://registry.example.org/v2/team/lab/manifests/sha256:01: 429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit.`: limited,
		failed + `failed to do request: Head "https://registry.example.org/v2/team/lab/manifests/2026": tls: failed to verify certificate: x509: certificate signed by unknown authority`:                                                                                                                                                               "the node does not trust the registry registry.example.org (its certificate). An administrator has the nodes trust it.",
		`failed to pull and unpack image "` + image + `": failed to extract layer sha256:01: write /opt/lib.so: no space left on device: unknown`:                                                                                                                                                                                                       "the node has no disk space left for it. An administrator makes room there.",
		failed + "no match for platform in manifest: not found":                                                "it is not made for the node's kind of processor. Choose another image.",
		`Container image "` + image + `" is not present with pull policy of Never`:                             "it is not on the node, and is never pulled (pull policy Never). An administrator puts it there, or changes the policy.",
		`Failed to apply default image tag "Lab:": couldn't parse image name "Lab:": invalid reference format`: "that is no name of an image. Choose another image, or have an administrator correct it.",
		"image pull failed for " + image + " because the signature validation failed: no signature":            "its signature does not hold. An administrator looks at the image and at what the nodes accept.",
		`Back-off pulling image "` + image + `"`:                                                               "",
		"something new":                                                                                        "",
	})
	text, _ := podtrouble.Unpulled("jupyter/lab", "429 Too Many Requests")
	assert.Contains(t, text, "the registry docker.io ")
	assert.False(t, podtrouble.SaysWhy(`Back-off pulling image "lab"`))
	assert.False(t, podtrouble.SaysWhy(""))
	assert.True(t, podtrouble.SaysWhy(`Back-off pulling image "lab": ErrImagePull: x`))
	assert.True(t, podtrouble.SaysWhy("x"))
}

// The texts are those of pkg/controller/volume/attachdetach, pkg/volume and pkg/kubelet.
func TestUnmounted(t *testing.T) {
	t.Parallel()
	translations(t, podtrouble.Unmounted, map[string]string{
		`Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) jupyter-alice-1-2`:                                                                                                                     "it can be in use on one node at a time, and is in use on another, by jupyter-alice-1-2. It comes when that has ended.",
		`Multi-Attach error for volume "pvc-1" Volume is already used by 2 pod(s) in different namespaces`:                                                                                                             "it can be in use on one node at a time, and is in use on another, by Pods of other namespaces. It comes when those have ended.",
		`Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node and can't be attached to another`:                                                                                    "it can be in use on one node at a time, and another node has not let go of it yet. That takes up to some minutes, longer if that node is lost.",
		`AttachVolume.Attach failed for volume "pvc-1" : rpc error: code = Internal desc = Could not attach volume "vol-1" to node "i-1"`:                                                                              `pvc-1 cannot be attached to the node: rpc error: code = Internal desc = Could not attach volume "vol-1" to node "i-1".`,
		`MountVolume.SetUp failed for volume "settings" : configmap "settings" not found`:                                                                                                                              "there is no ConfigMap settings, which it mounts. An administrator makes it, or takes it from the policy.",
		`MountVolume.SetUp failed for volume "keys" : secret "keys" not found`:                                                                                                                                         "there is no Secret keys, which it mounts. An administrator makes it, or takes it from the policy.",
		`MountVolume.SetUp failed for volume "keys" : references non-existent secret key: id_rsa`:                                                                                                                      "a Secret that it mounts has no key id_rsa. An administrator adds it, or takes it from the policy.",
		`MountVolume.SetUp failed for volume "settings" : configmap references non-existent config key: lab.json`:                                                                                                      "a ConfigMap that it mounts has no key lab.json. An administrator adds it, or takes it from the policy.",
		`MountVolume.MountDevice failed for volume "pvc-1" : kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: driver name ebs.csi.aws.com not found in the list of registered CSI drivers`: "the storage driver ebs.csi.aws.com does not run on the node. An administrator looks at it.",
		"MountVolume.SetUp failed for volume \"nfs\" : mount failed: exit status 32\nOutput: mount.nfs: access denied by server":                                                                                       "nfs cannot be mounted: mount failed: exit status 32\nOutput: mount.nfs: access denied by server.",
		`Unable to attach or mount volumes: unmounted volumes=[home], unattached volumes=[], failed to process volumes=[]: timed out waiting for the condition`:                                                        "the node still waits for the volume home.",
		"something new": "",
	})
	translations(t, podtrouble.Unprovisioned, map[string]string{
		`storageclass.storage.k8s.io "fast" not found`:                                                                  "there is no storage class fast. An administrator makes it, or has the policy name another.",
		`failed to provision volume with StorageClass "fast": rpc error: code = ResourceExhausted desc = no space left`: "the storage class fast does not make it: rpc error: code = ResourceExhausted desc = no space left.",
		"something new": "",
	})
}

func TestSentence(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "No node has room.", podtrouble.Sentence("no node has room."))
	assert.Empty(t, podtrouble.Sentence(""))
}

func TestOfEvent(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ reason, message, want string }{
		{"FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.", "The only node has too little cpu free."},
		{"FailedScheduling", "new", "new"},
		{"FailedCreate", `Error creating: pods "a-" is forbidden: no PriorityClass with name high was found`, "The Pod is refused: there is no priority class high: an administrator makes it, or has the policy name another."},
		{"FailedAttachVolume", `Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) a`, "A volume is not ready: it can be in use on one node at a time, and is in use on another, by a. It comes when that has ended."},
		{"ProvisioningFailed", `storageclass.storage.k8s.io "fast" not found`, "The volume is not made: there is no storage class fast. An administrator makes it, or has the policy name another."},
		{"Failed", `Failed to pull image "lab:1": rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/lab:1": not found`, "Image lab:1 cannot be pulled: the registry docker.io has no such image. Choose another image, or have an administrator correct its name or tag."},
		{"Failed", "Error: ErrImagePull", "Error: ErrImagePull"},
		{"Killing", "0/1 nodes are available: 1 Insufficient cpu.", "0/1 nodes are available: 1 Insufficient cpu."},
	} {
		assert.Equal(t, row.want, podtrouble.OfEvent(row.reason, row.message))
	}
}
