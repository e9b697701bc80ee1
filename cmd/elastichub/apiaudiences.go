package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
)

// apiAudiences are those of the API server, and its issuer, by the service's own token:
// the kubelet asks for that without naming an audience, and then a token is for all that
// the API server takes. They are unknown where the service has no such token.
func apiAudiences(cluster *rest.Config) ([]string, error) {
	token := cluster.BearerToken
	if cluster.BearerTokenFile != "" {
		text, err := os.ReadFile(cluster.BearerTokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the service's own token: %w", err)
		}
		token = string(text)
	}
	return audiencesOf(strings.TrimSpace(token)), nil
}

// audiencesOf reads a token that is not checked here; nothing of one that is no JWT.
func audiencesOf(token string) []string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims struct {
		Issuer   string          `json:"iss"`
		Audience json.RawMessage `json:"aud"` // a text or a list of them
	}
	if json.Unmarshal(payload, &claims) != nil {
		return nil
	}
	var many []string
	var one string
	if json.Unmarshal(claims.Audience, &many) != nil && json.Unmarshal(claims.Audience, &one) == nil {
		many = []string{one}
	}
	many = append(many, claims.Issuer)
	return slices.DeleteFunc(many, func(audience string) bool { return audience == "" })
}
