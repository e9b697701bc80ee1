package usage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// Label is what the ConfigMaps of a ledger bear, with its name.
	Label = "elastichub.io/usage"
	// bookKey is where in a ConfigMap the book is.
	bookKey = "book.json.gz"
	// writer is whom the API server books our changes to.
	writer = "elastichub-usage"
	// stampKey makes every write a change, so that the API server says when it was.
	stampKey = "elastichub.io/usage-stamp"
)

// ErrTaken: somebody else has written a book meanwhile.
var ErrTaken = errors.New("usage: somebody else has written the ledger")

// Store keeps the books in ConfigMaps, <name>-00 to <name>-15.
type Store struct {
	// Reader reads from the API server; Client writes, and is nil where nobody does.
	Reader          client.Reader
	Client          client.Client
	Namespace, Name string
}

// Saved are the books as they lie in the cluster.
type Saved struct {
	Books [Shards]Loaded
	maps  [Shards]*corev1.ConfigMap
}

// Read reads all books, empty where there is none.
func (s *Store) Read(ctx context.Context) (*Saved, error) {
	var found corev1.ConfigMapList
	if err := s.Reader.List(ctx, &found, client.InNamespace(s.Namespace), client.MatchingLabels{Label: s.Name}); err != nil {
		return nil, fmt.Errorf("usage: read the ledger: %w", err)
	}
	saved := &Saved{}
	for i := range found.Items {
		m := &found.Items[i]
		for shard := range Shards {
			if m.Name != s.nameOf(shard) {
				continue
			}
			b, err := decode(m.BinaryData[bookKey])
			if err != nil {
				return nil, fmt.Errorf("ConfigMap %s: %w", m.Name, err)
			}
			saved.Books[shard], saved.maps[shard] = Loaded{b, writtenAt(m)}, m
		}
	}
	return saved, nil
}

func (s *Store) nameOf(shard int) string { return fmt.Sprintf("%s-%02d", s.Name, shard) }

// writtenAt is when the API server wrote a ConfigMap, by its own clock.
func writtenAt(m *corev1.ConfigMap) time.Time {
	at := m.CreationTimestamp.Time
	for _, f := range m.ManagedFields {
		if f.Manager == writer && f.Time != nil && f.Time.After(at) {
			at = f.Time.Time
		}
	}
	return at
}

// Write writes a book over what was read or written last, and tells when the API server did
// so, by its clock. dropped are the dates that had no room. Error: ErrTaken.
func (s *Store) Write(ctx context.Context, saved *Saved, shard int, b *Book) (at time.Time, dropped int, err error) {
	packed, dropped, err := b.encode()
	if err != nil {
		return time.Time{}, dropped, err
	}
	m := saved.maps[shard]
	stamp := map[string]string{stampKey: uuid.NewString()}
	if m == nil {
		m = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: s.nameOf(shard), Annotations: stamp,
			Labels: map[string]string{Label: s.Name, "app.kubernetes.io/name": "elastichub", "app.kubernetes.io/component": "usage"},
		}, BinaryData: map[string][]byte{bookKey: packed}}
		err = s.Client.Create(ctx, m, client.FieldOwner(writer))
	} else {
		m = m.DeepCopy()
		m.BinaryData, m.Annotations = map[string][]byte{bookKey: packed}, stamp
		err = s.Client.Update(ctx, m, client.FieldOwner(writer))
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		return time.Time{}, dropped, fmt.Errorf("%w: %w", ErrTaken, err)
	case err != nil:
		return time.Time{}, dropped, fmt.Errorf("usage: write the ledger: %w", err)
	}
	saved.maps[shard] = m
	return writtenAt(m), dropped, nil
}

// IsReplaced reports whether somebody else has written a book since it was read or written last,
// as a cache shows it: somebody who has restored it from a backup.
func (s *Store) IsReplaced(ctx context.Context, cached client.Reader, saved *Saved) (bool, error) {
	var found corev1.ConfigMapList
	if err := cached.List(ctx, &found, client.InNamespace(s.Namespace), client.MatchingLabels{Label: s.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("usage: look at the ledger: %w", err)
	}
	for i := range found.Items {
		m := &found.Items[i]
		for shard := range Shards {
			if m.Name == s.nameOf(shard) && (saved.maps[shard] == nil || isLater(m.ResourceVersion, saved.maps[shard].ResourceVersion)) {
				return true, nil
			}
		}
	}
	return false, nil
}

// isLater compares resource versions, which are numbers that grow.
func isLater(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }

// All are the books, for who reads them.
func (s *Saved) All() []*Book {
	all := make([]*Book, 0, Shards)
	for _, loaded := range s.Books {
		if loaded.Book != nil {
			all = append(all, loaded.Book)
		}
	}
	return all
}

// IsEmpty reports whether a ConfigMap of a ledger has no hours, as one that was just begun.
func IsEmpty(m *corev1.ConfigMap) (bool, error) {
	packed, has := m.BinaryData[bookKey]
	if !has {
		return true, nil
	}
	b, err := decode(packed)
	if err != nil {
		return false, fmt.Errorf("ConfigMap %s: %w", m.Name, err)
	}
	return len(b.Runs)+len(b.Days)+len(b.Months)+len(b.Spans) == 0, nil
}
