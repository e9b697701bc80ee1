package removal

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxRecord bounds what Helm has kept of a release, unpacked.
const maxRecord = 64 << 20

// helms are Helm's records of the release, one for each revision. Those of another chart that
// has ours in it stay: Helm removes the rest of that.
func (s Site) helms(ctx context.Context, p *Plan) error {
	var kept corev1.SecretList
	err := s.API.List(ctx, &kept, client.InNamespace(s.Namespace), client.MatchingLabels{"owner": "helm", "name": s.Release})
	if apierrors.IsForbidden(err) {
		p.Unknown = append(p.Unknown, fmt.Sprintf("Helm's records cannot be listed: %v", err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("list Helm's records: %w", err)
	}
	for i := range kept.Items {
		record := &metav1.PartialObjectMetadata{ObjectMeta: kept.Items[i].ObjectMeta}
		record.SetGroupVersionKind(secrets.GroupVersionKind)
		chart, err := chartOf(&kept.Items[i])
		switch {
		case err != nil:
			p.Stays = append(p.Stays, Item{record, fmt.Sprintf("a record of Helm's that cannot be read: %v", err)})
		case chart != chartName:
			p.Stays = append(p.Stays, Item{record, "Helm's record of the chart " + chart + ": helm uninstall removes the rest of that"})
		default:
			p.Last = append(p.Last, Item{record, "Helm's record"})
		}
	}
	return nil
}

// chartOf is the name of the chart that a record of Helm's is of.
func chartOf(record *corev1.Secret) (string, error) {
	packed, err := base64.StdEncoding.DecodeString(string(record.Data["release"]))
	if err != nil {
		return "", err
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return "", err
	}
	var said struct {
		Chart struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"chart"`
	}
	err = json.NewDecoder(io.LimitReader(reader, maxRecord)).Decode(&said)
	return said.Chart.Metadata.Name, err
}
