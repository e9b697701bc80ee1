package rotation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/rotation"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// volume is a directory as the kubelet keeps one: files are links into a directory that is
// exchanged as a whole.
type volume struct {
	dir  string
	step int
}

func (v *volume) put(t *testing.T, files map[string]string) {
	t.Helper()
	v.step++
	name := "..step-" + strconv.Itoa(v.step)
	require.NoError(t, os.MkdirAll(filepath.Join(v.dir, name, "signing"), 0o700))
	for file, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(v.dir, name, "signing", file), []byte(text), 0o600))
	}
	former, _ := os.Readlink(filepath.Join(v.dir, "..data"))
	require.NoError(t, os.Symlink(name, filepath.Join(v.dir, "..new")))
	require.NoError(t, os.Rename(filepath.Join(v.dir, "..new"), filepath.Join(v.dir, "..data")))
	if former == "" {
		require.NoError(t, os.Symlink("..data/signing", filepath.Join(v.dir, "signing")))
		return
	}
	require.NoError(t, os.RemoveAll(filepath.Join(v.dir, former)))
}

func (v *volume) file() string { return filepath.Join(v.dir, "signing", "seed") }

func TestWhichValuesCount(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		data  map[string]string
		count []string
	}{
		"one":                         {map[string]string{"seed": " a\n"}, []string{"a"}},
		"a next one":                  {map[string]string{"seed": "a", "next": "b"}, []string{"a", "b"}},
		"a former one in its time":    {map[string]string{"seed": "b", "former": "a", "former-until": "2026-11-28T12:00:01Z"}, []string{"b", "a"}},
		"a former one, time is over":  {map[string]string{"seed": "b", "former": "a", "former-until": "2026-11-28T12:00:00Z"}, []string{"b"}},
		"a former one without a time": {map[string]string{"seed": "b", "former": "a"}, []string{"b", "a"}},
		"all three":                   {map[string]string{"seed": "b", "former": "a", "next": "c"}, []string{"b", "c", "a"}},
		"the same one thrice":         {map[string]string{"seed": "a", "former": "a", "next": "a"}, []string{"a"}},
	} {
		values, err := rotation.Parse("seed", func(key string) string { return row.data[key] })
		require.NoError(t, err, name)
		assert.Equal(t, row.count, values.Counting(noon), name)
	}
	_, err := rotation.Parse("seed", func(string) string { return " " })
	require.ErrorIs(t, err, rotation.ErrEmpty)
	_, err = rotation.Parse("seed", func(string) string { return "tomorrow" })
	assert.ErrorContains(t, err, "former-until")
}

// Whatever moment a reader comes at, it has values of one step: never the new current one
// without the former, which would refuse what still counts.
func TestValuesAreOfOneStep(t *testing.T) {
	t.Parallel()
	v := &volume{dir: t.TempDir()}
	step := func(i int) map[string]string {
		return map[string]string{"seed": strconv.Itoa(i), "former": strconv.Itoa(i - 1), "next": strconv.Itoa(i + 1), "mark": "m" + strconv.Itoa(i)}
	}
	v.put(t, step(1))
	stop, reads := make(chan struct{}), 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			values, err := rotation.Read(v.file())
			if errors.Is(err, os.ErrNotExist) {
				continue // three steps within one read
			}
			if !assert.NoError(t, err) {
				return
			}
			i, err := strconv.Atoi(values.Current)
			if !assert.NoError(t, err) || !assert.Equal(t, rotation.Values{Current: strconv.Itoa(i), Former: strconv.Itoa(i - 1), Next: strconv.Itoa(i + 1), Mark: "m" + strconv.Itoa(i)}, values) {
				return
			}
			reads++
		}
	})
	for i := 2; i < 300; i++ {
		v.put(t, step(i))
	}
	close(stop)
	wg.Wait()
	assert.Positive(t, reads)
}

func TestALiveSecretGoesOnWhenItIsDamaged(t *testing.T) {
	t.Parallel()
	v, now, log := &volume{dir: t.TempDir()}, noon, &bytes.Buffer{}
	short := func(v rotation.Values) error {
		if len(v.Current) < 3 {
			return errors.New("shorter than 3 letters")
		}
		return nil
	}
	open := func() (*rotation.Live, error) {
		return rotation.Open(v.file(), short, slog.New(slog.NewTextHandler(log, nil)), func() time.Time { return now })
	}
	_, err := open()
	require.ErrorIs(t, err, os.ErrNotExist)
	v.put(t, map[string]string{"seed": "a"})
	_, err = open()
	require.ErrorContains(t, err, "3 letters")
	v.put(t, map[string]string{"seed": "first"})
	live, err := open()
	require.NoError(t, err)

	v.put(t, map[string]string{"seed": "other", "former": "first", "former-until": "2026-11-28T13:00:00Z"})
	assert.Equal(t, []string{"first"}, live.Counting(), "it was just read")
	now = now.Add(rotation.Interval)
	assert.Equal(t, []string{"other", "first"}, live.Counting())
	now = noon.Add(time.Hour)
	assert.Equal(t, []string{"other"}, live.Counting(), "its time is over")

	v.put(t, map[string]string{"seed": "b"})
	for range 3 {
		now = now.Add(rotation.Interval)
		assert.Equal(t, []string{"other"}, live.Counting())
	}
	assert.Equal(t, 1, strings.Count(log.String(), "3 letters"), "said once")
	assert.NotContains(t, log.String(), "other")
	v.put(t, map[string]string{"seed": "third"})
	now = now.Add(-time.Hour) // a clock that was set back
	assert.Equal(t, []string{"third"}, live.Counting())
}

func TestFollow(t *testing.T) {
	t.Parallel()
	v := &volume{dir: t.TempDir()}
	v.put(t, map[string]string{"seed": "first"})
	live, err := rotation.Open(v.file(), nil, slog.New(slog.DiscardHandler), time.Now)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan string, 8), make(chan struct{})
	go func() {
		defer close(ended)
		live.Follow(ctx, func(values rotation.Values) { told <- values.Current })
	}()
	assert.Equal(t, "first", <-told)
	v.put(t, map[string]string{"seed": "second"})
	assert.Equal(t, "second", <-told)
	cancel()
	<-ended
	assert.Empty(t, told)
}

func TestMarksAreToldAndNothingElse(t *testing.T) {
	t.Parallel()
	handler := rotation.Marks(map[string]func() string{"signing": func() string { return "m1" }})
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, rotation.Path, nil))
	var seen map[string]string
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &seen))
	assert.Equal(t, map[string]string{"signing": "m1"}, seen)
	answer = httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, rotation.Path, nil))
	assert.Equal(t, http.StatusMethodNotAllowed, answer.Code)
}
