package v1alpha1

import (
	"net"
	"net/url"
	"regexp"
	"strings"
)

// ServiceAccountToken is a token of a Pod's service account for somebody who is not the
// Kubernetes API, in a file that the kubelet keeps up to date.
type ServiceAccountToken struct {
	// Audience is whom the token is for, e.g. sts.amazonaws.com.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[!-+\--~]+$`
	// +kubebuilder:validation:XValidation:rule="!self.lowerAscii().matches('^([a-z]+://)?kubernetes\\\\.default(\\\\.svc(\\\\..*)?)?(:[0-9]*)?(/.*)?$')",message="must not be the Kubernetes API itself"
	Audience string `json:"audience"`
	// ExpirationSeconds is for how long a token is valid; a new one is there before.
	// Absent: an hour.
	// +kubebuilder:validation:Minimum=600
	// +kubebuilder:validation:Maximum=4294967296
	ExpirationSeconds int64 `json:"expirationSeconds,omitempty"`
	// Path is the name of its file in /var/run/secrets/tokens.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_][A-Za-z0-9._-]*$`
	Path string `json:"path"`
}

// Bounds of a ServiceAccountToken, as Kubernetes has them.
const (
	// TokenDirectory is where the files of all tokens are.
	TokenDirectory = "/var/run/secrets/tokens"
	// DefaultTokenSeconds is for how long a token is valid where nobody says it.
	DefaultTokenSeconds = 60 * 60
	MinTokenSeconds     = 10 * 60
	MaxTokenSeconds     = 1 << 32
	maxAudience         = 1024
	maxTokenPath        = 253
)

var (
	audienceText = regexp.MustCompile(`^[!-+\--~]+$`) // no comma: annotations list audiences with commas
	tokenPath    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// AudienceProblem is why nobody gets a token for an audience, empty if there is no reason.
// apiAudiences are those of the Kubernetes API besides its usual ones.
func AudienceProblem(audience string, apiAudiences []string) string {
	switch {
	case len(audience) > maxAudience || !audienceText.MatchString(audience):
		return "must be 1 to 1024 printable characters without spaces and commas"
	case isKubernetesAPI(audience) || sameAsAny(audience, apiAudiences):
		return "is the Kubernetes API itself, for which no token is given"
	}
	return ""
}

// Problem is why a token is not given, and which field says so; both are empty if there
// is no reason.
func (t ServiceAccountToken) Problem(apiAudiences []string) (field, problem string) {
	if problem := AudienceProblem(t.Audience, apiAudiences); problem != "" {
		return "audience", problem
	}
	if s := t.ExpirationSeconds; s != 0 && (s < MinTokenSeconds || s > MaxTokenSeconds) {
		return "expirationSeconds", "must be from 600 to 4294967296"
	}
	if len(t.Path) > maxTokenPath || !tokenPath.MatchString(t.Path) {
		return "path", "must be a file name of letters, digits, underscores, dots and dashes"
	}
	return "", ""
}

// isKubernetesAPI: the audience is the address that the API server has in every cluster,
// which is its issuer and audience where nobody has configured another.
func isKubernetesAPI(audience string) bool {
	host := strings.ToLower(audience)
	if u, err := url.Parse(host); err == nil && u.Host != "" {
		host = u.Host
	}
	host, _, _ = strings.Cut(host, "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, ".")
	return host == "kubernetes.default" || host == "kubernetes.default.svc" || strings.HasPrefix(host, "kubernetes.default.svc.")
}

// sameAsAny compares as API servers do, to the letter, but for a slash at the end: an
// issuer is often written with and without.
func sameAsAny(audience string, others []string) bool {
	for _, other := range others {
		if strings.TrimRight(other, "/") == strings.TrimRight(audience, "/") {
			return true
		}
	}
	return false
}
