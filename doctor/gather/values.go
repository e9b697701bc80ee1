package gather

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	chart "github.com/elastichub/elastichub/charts/elastichub"
	"github.com/elastichub/elastichub/namespaces"
)

// maxReleaseBytes bounds what Helm has kept of a release.
const maxReleaseBytes = 16 << 20

// chartValues are the chart's defaults with others over them, later ones over earlier
// ones, as Helm merges them, and what the chart's schema says against that.
func chartValues(over ...map[string]any) (all map[string]any, faults []string, err error) {
	if err := yaml.Unmarshal(chart.Values, &all); err != nil {
		return nil, nil, fmt.Errorf("values.yaml of the chart: %w", err)
	}
	for _, values := range over {
		merge(all, values)
	}
	faults, err = schemaFaults(all)
	return all, faults, err
}

// merge puts values over others: maps key by key, all else whole; null removes a key.
func merge(into, over map[string]any) {
	for key, value := range over {
		inner, isMap := value.(map[string]any)
		old, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(old, inner)
		default:
			into[key] = value
		}
	}
}

func schemaFaults(values map[string]any) ([]string, error) {
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(chart.Schema))
	if err != nil {
		return nil, fmt.Errorf("values.schema.json of the chart: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("values.schema.json", schema); err != nil {
		return nil, fmt.Errorf("values.schema.json of the chart: %w", err)
	}
	compiled, err := compiler.Compile("values.schema.json")
	if err != nil {
		return nil, fmt.Errorf("values.schema.json of the chart: %w", err)
	}
	text, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var invalid *jsonschema.ValidationError
	if err := compiled.Validate(instance); err != nil && !errors.As(err, &invalid) {
		return nil, err
	}
	var faults []string
	if invalid != nil {
		leaves(invalid, func(leaf *jsonschema.ValidationError) {
			path := strings.Join(leaf.InstanceLocation, ".")
			faults = append(faults, fmt.Sprintf("%s: %s", path, leaf.ErrorKind.LocalizedString(message.NewPrinter(language.English))))
		})
	}
	for _, path := range [][]string{{"image", "name"}, {"notebooks", "image"}, {"kernels", "image"}} {
		if text, ok := at(values, path...).(string); ok && text == "" && textAt(values, "image", "registry") == "" {
			faults = append(faults, strings.Join(path, ".")+": is required, or image.registry for all images")
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults), nil
}

// watched are the namespaces that the release looks after beside its own.
func watched(values map[string]any, own string) (others []string) {
	if textAt(values, "watchNamespaces") == "all" {
		return []string{namespaces.Everywhere}
	}
	list, _ := at(values, "watchNamespaces").([]any)
	for _, item := range list {
		if name, is := item.(string); is && name != own {
			others = append(others, name)
		}
	}
	return others
}

// hasGroups tells as the chart does whether there is a source of groups.
func hasGroups(values map[string]any) bool {
	urls, _ := at(values, "groups", "ldap", "urls").([]any)
	return len(urls) > 0 || textAt(values, "groups", "oidc", "issuer") != "" || isSet(values, "groups", "hub", "sent") ||
		textAt(values, "groups", "hub", "apiURL") != "" || textAt(values, "groups", "file") != ""
}

func leaves(fault *jsonschema.ValidationError, each func(*jsonschema.ValidationError)) {
	if len(fault.Causes) == 0 {
		each(fault)
	}
	for _, cause := range fault.Causes {
		leaves(cause, each)
	}
}

// at is what is found by a path of keys, nil if there is nothing.
func at(values map[string]any, path ...string) any {
	var found any = values
	for _, key := range path {
		inner, _ := found.(map[string]any)
		found = inner[key]
	}
	return found
}

func textAt(values map[string]any, path ...string) string {
	text, _ := at(values, path...).(string)
	return text
}

func isSet(values map[string]any, path ...string) bool {
	set, _ := at(values, path...).(bool)
	return set
}

// installedValues are those that Helm was given for the newest revision of a release;
// nil if Helm knows no such release.
func installedValues(ctx context.Context, api client.Reader, namespace, release string) (map[string]any, error) {
	var kept corev1.SecretList
	err := api.List(ctx, &kept, client.InNamespace(namespace), client.MatchingLabels{"owner": "helm", "name": release})
	if err != nil || len(kept.Items) == 0 {
		return nil, err
	}
	newest := slices.MaxFunc(kept.Items, func(a, b corev1.Secret) int { return revision(a) - revision(b) })
	packed, err := base64.StdEncoding.DecodeString(string(newest.Data["release"]))
	if err != nil {
		return nil, fmt.Errorf("secret %s of Helm: %w", newest.Name, err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("secret %s of Helm: %w", newest.Name, err)
	}
	text, err := io.ReadAll(io.LimitReader(reader, maxReleaseBytes))
	if err != nil {
		return nil, fmt.Errorf("secret %s of Helm: %w", newest.Name, err)
	}
	var said struct {
		Config map[string]any `json:"config"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, fmt.Errorf("secret %s of Helm: %w", newest.Name, err)
	}
	if said.Config == nil {
		said.Config = map[string]any{}
	}
	return maps.Clone(said.Config), nil
}

func revision(s corev1.Secret) int {
	n, _ := strconv.Atoi(s.Labels["version"])
	return n
}
