package podtrouble

import (
	"fmt"
	"strings"
)

// pull is what a runtime's text means. The first whose word is in it counts: what names a
// missing host says "not found", too.
type pull struct {
	words []string
	// means has %[1]s for the image and %[2]s for its registry.
	means string
}

// Words of containerd, CRI-O and the registries, and of the kubelet (pkg/kubelet/images).
var pulls = []pull{
	{[]string{"toomanyrequests", "429 Too Many Requests", "pull rate limit"},
		"the registry %[2]s gives out no more for now (rate limit). Try again later; an administrator can give it a pull secret or a mirror."},
	{[]string{"x509: ", "server gave HTTP response to HTTPS client"},
		"the node does not trust the registry %[2]s (its certificate). An administrator has the nodes trust it."},
	{[]string{"no such host", "i/o timeout", "connection refused", "no route to host", "network is unreachable", "connection reset", "TLS handshake timeout",
		"context deadline exceeded", "server misbehaving", "the registry is unavailable", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout", "500 Internal Server Error"},
		"the registry %[2]s is not reached from the node. Try again later; if that does not help, an administrator looks at the registry and the network."},
	{[]string{"pull access denied", "repository does not exist or may require", "requested access to the resource is denied"},
		"the registry %[2]s does not give it out: there is no such image, or it takes a pull secret. Choose another image, or have an administrator add the secret to the policy."},
	{[]string{"401 Unauthorized", "403 Forbidden", "no basic auth credentials", "authorization failed", "authentication required", "unauthorized: ", "insufficient_scope"},
		"the registry %[2]s does not let the node in. An administrator adds a pull secret to the policy, or renews it."},
	{[]string{"no space left on device"},
		"the node has no disk space left for it. An administrator makes room there."},
	{[]string{"no match for platform in manifest", "no matching manifest", "no image found in image index for architecture"},
		"it is not made for the node's kind of processor. Choose another image."},
	{[]string{"signature validation failed"},
		"its signature does not hold. An administrator looks at the image and at what the nodes accept."},
	{[]string{"not found", "manifest unknown", "NotFound", "404 Not Found"},
		"the registry %[2]s has no such image. Choose another image, or have an administrator correct its name or tag."},
	{[]string{"couldn't parse image", "invalid reference format"},
		"that is no name of an image. Choose another image, or have an administrator correct it."},
	{[]string{"is not present with pull policy of Never"},
		"it is not on the node, and is never pulled (pull policy Never). An administrator puts it there, or changes the policy."},
}

// Unpulled translates why an image is not had: the message of a waiting container, or of
// an Event about its image.
func Unpulled(image, message string) (string, bool) {
	for _, p := range pulls {
		for _, word := range p.words {
			if strings.Contains(message, word) {
				text := p.means
				if strings.Contains(text, "%[") {
					text = fmt.Sprintf(text+"%.0[1]s", image, registryOf(image))
				}
				return text, true
			}
		}
	}
	return message, false
}

// SaysWhy tells that a waiting container's message has a cause in it. Since 1.32 the
// kubelet repeats it while it waits to try again; before, it does not.
func SaysWhy(message string) bool {
	return message != "" && (!strings.HasPrefix(message, "Back-off pulling image ") || strings.Contains(message, `": `))
}

// registryOf is the host of an image's name; those without one are Docker's.
func registryOf(image string) string {
	host, _, more := strings.Cut(image, "/")
	if more && (strings.ContainsAny(host, ".:") || host == "localhost") {
		return host
	}
	return "docker.io"
}
