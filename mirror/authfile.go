package mirror

import (
	"bytes"
	"fmt"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/elastichub/elastichub/outbound"
)

// authFile is a file of credentials, as docker and podman keep them.
type authFile struct{ content *configfile.ConfigFile }

func readAuthFile(name string) (authn.Keychain, error) {
	text, err := outbound.ReadFile(name)
	if err != nil {
		return nil, err
	}
	content, err := config.LoadFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s has no credentials as docker and podman keep them", name) // an error may show a part of them
	}
	return authFile{content}, nil
}

// Resolve implements authn.Keychain: what is kept for the repository counts before what is kept for its registry.
func (a authFile) Resolve(resource authn.Resource) (authn.Authenticator, error) {
	for _, key := range []string{resource.String(), resource.RegistryStr()} {
		found, err := a.content.GetAuthConfig(key)
		if err != nil {
			return nil, err
		}
		kept := authn.AuthConfig{
			Username: found.Username, Password: found.Password, Auth: found.Auth,
			IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
		}
		if kept != (authn.AuthConfig{}) {
			return authn.FromConfig(kept), nil
		}
	}
	return authn.Anonymous, nil
}
