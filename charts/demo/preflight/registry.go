package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"time"

	"github.com/elastichub/elastichub/doctor"
)

// registryTime is how long the registry may take to answer.
const registryTime = 5 * time.Second

// registryName is HOST[:PORT][/PATH]. Without a dot, a port or localhost the first part
// would be a path on Docker Hub.
var registryName = regexp.MustCompile(`^(localhost(?::[0-9]+)?|[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]+)?|[a-z0-9-]+:[0-9]+)(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$`)

// checkRegistry asks whether there is a registry. One that wants to know who asks is one.
func checkRegistry(ctx context.Context, name string) []doctor.Problem {
	const example = "make run KUBECONFIG=… REGISTRY=localhost:5000/elastichub"
	if name == "" {
		return []doctor.Problem{{What: "REGISTRY is not given, and the cluster's nodes pull the demo's images from a registry", Fix: "name one to which you may push: " + example}}
	}
	parts := registryName.FindStringSubmatch(name)
	if parts == nil {
		return []doctor.Problem{{What: fmt.Sprintf("REGISTRY=%s is not HOST[:PORT][/PATH] in small letters", name), Fix: "write it as in " + example}}
	}
	host := parts[1]
	scheme := "https"
	if loopback(host) {
		scheme = "http"
	}
	ctx, cancel := context.WithTimeout(ctx, registryTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+"/v2/", nil)
	if err != nil {
		return []doctor.Problem{{What: fmt.Sprintf("REGISTRY=%s: %v", name, err), Fix: "write it as in " + example}}
	}
	answer, err := http.DefaultClient.Do(request)
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		return []doctor.Problem{{What: fmt.Sprintf("the registry %s has a certificate that this machine does not trust", host), Fix: "add its authority to the machine's, and to the nodes'"}}
	case err != nil:
		return []doctor.Problem{{
			What: fmt.Sprintf("the registry %s does not answer: %v", host, err),
			Fix:  "start it, or correct REGISTRY; only one at a loopback address may do without TLS",
		}}
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusUnauthorized {
		return []doctor.Problem{{What: fmt.Sprintf("%s answers /v2/ with %s, as no registry does", host, answer.Status), Fix: "correct REGISTRY"}}
	}
	return nil
}

func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
