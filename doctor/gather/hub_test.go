package gather

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/test/hubtest"
)

// TestScopesOfTheHubsTokens: a real Hub says what a token may do, and the doctor what is lacking.
func TestScopesOfTheHubsTokens(t *testing.T) {
	t.Parallel()
	hub := hubtest.Start(t)
	for name, row := range map[string]struct {
		section, token string
		lacks          []string
		says           string
	}{
		"all":              {"hub", hubtest.Steward, nil, ""},
		"none":             {"hub", hubtest.Nobody, []string{"read:users", "servers"}, "the token of hub.tokenSecret lacks the scopes read:users and servers of the Hub at "},
		"one of others":    {"hub", hubtest.Reader, []string{"read:users", "servers"}, "servers are stopped without the Hub"},
		"groups":           {"groups", hubtest.Reader, nil, ""},
		"wider, of groups": {"groups", hubtest.Steward, nil, ""},
		"no groups":        {"groups", hubtest.Some, []string{"read:users:groups"}, "lacks the scope read:users:groups of the Hub at "},
	} {
		a := &asker{namespace: namespace, files: t.TempDir(), values: map[string]any{}}
		a.api = fake.NewClientBuilder().WithObjects(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "hub-api"}, Data: map[string][]byte{"token": []byte(row.token)}}).Build()
		section := map[string]any{"apiURL": hub.API, "tokenSecret": "hub-api"}
		if a.values["hub"] = section; row.section == "groups" {
			a.values = map[string]any{"groups": map[string]any{"hub": section}}
		}
		all := a.hubs(t.Context())
		require.Len(t, all, 1, name)
		assert.Equal(t, doctor.AnswerGood, all[0].Answer, name)
		assert.Equal(t, row.lacks, all[0].Lacks, name)
		found := doctor.Diagnose(doctor.Picture{Hubs: all}).Problems
		told := ""
		for _, problem := range found {
			if problem.Check == "hub-token" {
				told += problem.What
			}
		}
		if row.says == "" {
			assert.Empty(t, told, name)
		} else {
			assert.Contains(t, told, row.says, name)
		}
	}
}
