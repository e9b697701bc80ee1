package v1alpha1

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestNobodyGetsATokenForTheKubernetesAPI, by whatever name of it.
func TestNobodyGetsATokenForTheKubernetesAPI(t *testing.T) {
	known := []string{"https://oidc.eks.example.org/id/A1", "k3s"}
	for audience, given := range map[string]bool{
		"sts.amazonaws.com": true, "api://AzureADTokenExchange": true, "vault": true, "https://storage.example.org/a?b=c": true,
		"//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q": true,
		"https://kubernetes.default.example.org":                                               true,
		"https://oidc.eks.example.org/id/A2":                                                   true,
		"":                                                                                     false, "a b": false, "a,b": false, "ä": false,
		"https://kubernetes.default.svc": false, "https://kubernetes.default.svc/": false, "kubernetes.default.svc": false,
		"https://kubernetes.default.svc.cluster.local": false, "https://KUBERNETES.default.svc.other.example": false,
		"https://kubernetes.default.svc:443": false, "https://kubernetes.default": false,
		"https://oidc.eks.example.org/id/A1": false, "https://oidc.eks.example.org/id/A1/": false, "k3s": false,
	} {
		assert.Equal(t, given, AudienceProblem(audience, known) == "", audience)
	}
}
