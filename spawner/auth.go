package spawner

import (
	_ "embed"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tokens"
)

// Files of the auth Secret, by their names in the Pod. Both JSON files are there only for
// a server whose credentials somebody has set.
const (
	serverConfigFile  = "jupyter_server_config.json"
	classicConfigFile = "jupyter_notebook_config.json"
	serverAccessFile  = "jupyter_server_config.py"
	classicAccessFile = "jupyter_notebook_config.py"
	accessTokenFile   = "access-token"
)

// accessConfig lets elastichub ask a server when it was used, whatever its users sign in with.
//
//go:embed access.py
var accessConfig []byte

// authSecret is the server's own authentication as configuration files, for
// jupyter_server 2 (IdentityProvider), 1 (ServerApp) and the classic notebook
// (NotebookApp). Files rather than arguments: arguments are world-readable. Without
// credentials there is Jupyter's default, a random token in the log. access is the token
// with which elastichub asks the server; empty for one of a Hub, which has one already.
// Nil means that there is nothing to tell.
func authSecret(nb *v1alpha1.JupyterNotebook, found credentials, access string) *corev1.Secret {
	files := map[string][]byte{}
	if access != "" {
		files[serverAccessFile], files[classicAccessFile], files[accessTokenFile] = accessConfig, accessConfig, []byte(access)
	}
	token, password := found.token, found.password
	if token != nil || password != nil {
		provider, hashed, legacy := map[string]any{}, map[string]any{}, map[string]any{}
		if password != nil {
			value := hashPassword(*password, string(nb.UID))
			hashed["hashed_password"], legacy["password"] = value, value
			if token == nil {
				// As in Jupyter itself: with a password, no token is made up.
				empty := ""
				token = &empty
			}
		}
		provider["token"], legacy["token"] = *token, *token
		files[serverConfigFile] = mustJSON(map[string]any{"IdentityProvider": provider, "PasswordIdentityProvider": hashed, "ServerApp": legacy})
		files[classicConfigFile] = mustJSON(map[string]any{"NotebookApp": legacy})
	}
	if len(files) == 0 {
		return nil
	}
	return &corev1.Secret{ObjectMeta: meta(nb, nb.Name+authSecretSuffix), Data: files}
}

func mustJSON(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings in maps, or what the API server has sent as JSON
	}
	return data
}

// hasHubsToken reports whether the Hub starts the server, and so has given it a token.
func hasHubsToken(nb *v1alpha1.JupyterNotebook) bool {
	return nb.Spec.EnvSecret != "" && nb.Spec.Start != ""
}

// accessToken is what elastichub asks a server with that is of no Hub.
func accessToken(issuer *tokens.Issuer, nb *v1alpha1.JupyterNotebook) string {
	if hasHubsToken(nb) {
		return ""
	}
	return issuer.Derive("access to a notebook server", nb.Namespace, nb.Name, string(nb.UID))
}

// authVersionPrefix is that of the versions that this release gives with its present key:
// others are of Pods whose credentials it cannot compare.
func authVersionPrefix(issuer *tokens.Issuer) string { return "1-" + issuer.Derive("key")[:8] + "-" }

// deriver is the issuer with the key by which a Pod's access token and version of credentials
// were derived: a former one, if it was made before that was changed. nil: by none that we have.
func deriver(issuer *tokens.Issuer, version string) *tokens.Issuer {
	for _, each := range issuer.Each() {
		if strings.HasPrefix(version, authVersionPrefix(each)) {
			return each
		}
	}
	return nil
}

// authVersion changes when the credentials of a server do; nobody can learn them from it.
// It is empty where there is no auth Secret.
func authVersion(issuer *tokens.Issuer, nb *v1alpha1.JupyterNotebook, found credentials) string {
	if hasHubsToken(nb) && found.token == nil && found.password == nil {
		return ""
	}
	parts := []string{string(nb.UID)}
	for _, value := range []*string{found.token, found.password} {
		if value == nil {
			parts = append(parts, "none")
		} else {
			parts = append(parts, "is "+*value)
		}
	}
	return authVersionPrefix(issuer) + issuer.Derive("version of credentials", parts...)[:16]
}

const envConfigPath = "JUPYTER_CONFIG_PATH"

// mountAuth puts the files before every other configuration directory, also those that a
// template names.
func mountAuth(nb *v1alpha1.JupyterNotebook, pod *corev1.PodSpec, c *corev1.Container) {
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: authVolume, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: nb.Name + authSecretSuffix},
	}})
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: authVolume, MountPath: authPath, ReadOnly: true})
	for i := range c.Env {
		if c.Env[i].Name != envConfigPath {
			continue
		}
		theirs := c.Env[i].Value
		if c.Env[i].ValueFrom != nil {
			c.Env[i].Name = "ELASTICHUB_" + envConfigPath
			c.Env = append(c.Env, corev1.EnvVar{Name: envConfigPath, Value: authPath + ":$(ELASTICHUB_" + envConfigPath + ")"})
			return
		}
		c.Env[i].Value = strings.TrimSuffix(authPath+":"+theirs, ":")
		return
	}
	addEnv(c, corev1.EnvVar{Name: envConfigPath, Value: authPath})
}
