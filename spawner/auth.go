package spawner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// hashedPassword matches what Jupyter's passwd() gives: argon2:… or
// algorithm:salt:digest. elastic-jupyter-operator handed spec.auth.password to
// Jupyter as it was, so hashes must go on working.
var hashedPassword = regexp.MustCompile(`^(argon2:\$argon2[a-z]*\$.+|(sha1|sha224|sha256|sha384|sha512):[0-9a-f]+:[0-9a-f]{40,128})$`)

// authSecret is the server's own authentication as configuration files, for
// jupyter_server 2 (IdentityProvider), 1 (ServerApp) and the classic notebook
// (NotebookApp). A file rather than arguments: arguments are world-readable.
// Nil means Jupyter's default, a random token in the log.
func authSecret(nb *v1alpha1.JupyterNotebook) *corev1.Secret {
	auth := nb.Spec.Auth
	if auth == nil {
		return nil
	}
	token, password := auth.Token, auth.Password
	if auth.Mode == v1alpha1.AuthDisable {
		empty := ""
		token, password = &empty, &empty
	}
	if token == nil && password == nil {
		return nil
	}
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
	server := map[string]any{"IdentityProvider": provider, "PasswordIdentityProvider": hashed, "ServerApp": legacy}
	classic := map[string]any{"NotebookApp": legacy}
	return &corev1.Secret{
		ObjectMeta: meta(nb, nb.Name+authSecretSuffix),
		Data: map[string][]byte{
			"jupyter_server_config.json":   mustJSON(server),
			"jupyter_notebook_config.json": mustJSON(classic),
		},
	}
}

// hashPassword gives Jupyter's algorithm:salt:digest, digest of password then
// salt. The salt comes from the notebook's UID, so that the result is stable.
func hashPassword(password, uid string) string {
	if password == "" || hashedPassword.MatchString(password) {
		return password
	}
	sum := sha256.Sum256([]byte(uid))
	salt := hex.EncodeToString(sum[:])[:12]
	digest := sha256.Sum256([]byte(password + salt))
	return "sha256:" + salt + ":" + hex.EncodeToString(digest[:])
}

func mustJSON(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings in maps, or what the API server has sent as JSON
	}
	return data
}

// mountAuth puts the files before every other configuration directory.
func mountAuth(nb *v1alpha1.JupyterNotebook, pod *corev1.PodSpec, c *corev1.Container) {
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: authVolume, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: nb.Name + authSecretSuffix},
	}})
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: authVolume, MountPath: authPath, ReadOnly: true})
	addEnv(c, corev1.EnvVar{Name: "JUPYTER_CONFIG_PATH", Value: authPath})
}
