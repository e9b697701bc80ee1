package usage

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"time"
)

const (
	// Shards is how many books there are.
	Shards = 16
	// KeptDays and KeptMonths are how far back sums go.
	KeptDays   = 35
	KeptMonths = 24
	// maxBytes is what a book may take; a ConfigMap takes 1 MiB. maxPlain is what one may unpack to.
	maxBytes = 900 << 10
	maxPlain = 64 << 20
	// markKept is how long it is remembered which run of a kernel that is gone was booked:
	// much longer than any cache is behind.
	markKept = time.Hour
)

// ShardOf is the book that a user's hours are in.
func ShardOf(user string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(user)) // it never fails
	return int(h.Sum32() % Shards)
}

// The resources that are counted beside devices: cores, and GiB.
const (
	CPU    = "cpu"
	Memory = "memory"
)

// Amounts are of resources, in thousandths: of a device, of a core, of a GiB.
type Amounts map[string]int64

// Key is whose hours they are. Group is the first GroupPolicy.
type Key struct {
	User       string `json:"u"`
	Group      string `json:"g,omitempty"`
	KernelSpec string `json:"k,omitempty"`
	// Client: it is no user of the Hub, but a client of a gateway, whose name may be that of one.
	Client bool `json:"x,omitempty"`
}

// Use is in thousandths of a unit times milliseconds. Saved is what the server of the
// kernels would have held besides, had it kept what its kernels held at most at one time.
type Use struct {
	Held  int64 `json:"h,omitempty"`
	Busy  int64 `json:"b,omitempty"`
	Saved int64 `json:"s,omitempty"`
}

func (u *Use) add(o Use) { u.Held, u.Busy, u.Saved = u.Held+o.Held, u.Busy+o.Busy, u.Saved+o.Saved }

// Row is what somebody used in a day or month.
type Row struct {
	Key
	// Runs that began, and those of them whose end nobody saw.
	Runs      int64          `json:"n,omitempty"`
	Estimated int64          `json:"e,omitempty"`
	Of        map[string]Use `json:"o,omitempty"`
}

// Run is one that is open: what is held now. Times are milliseconds.
type Run struct {
	Key
	Name    string  `json:"c"` // of the kernel
	Number  int64   `json:"r"`
	Server  string  `json:"v,omitempty"` // name of its JupyterNotebook
	Amounts Amounts `json:"a,omitempty"`
	// Held and Busy are booked.
	Held int64 `json:"h,omitempty"`
	Busy int64 `json:"b,omitempty"`
	// Meter is what its agent counted when Held was MeterAt, nil if it has not told yet.
	Meter   *Meter `json:"m,omitempty"`
	MeterAt int64  `json:"t,omitempty"`
	// Late: it was held before the ledger began.
	Late bool `json:"l,omitempty"`
	// Gap is what passed without a leader, by the API server's clock, and is not booked yet:
	// the agent knows better. It ended at GapEnd, in Unix milliseconds.
	Gap    int64 `json:"p,omitempty"`
	GapEnd int64 `json:"q,omitempty"`
	// From and To are since when and up to when Amounts were held without a break, in Unix
	// milliseconds; both are zero if nothing was yet.
	From int64 `json:"f,omitempty"`
	To   int64 `json:"d,omitempty"`
}

// Meter is what an agent has counted since it began, in milliseconds.
type Meter struct {
	Held int64 `json:"h"`
	Busy int64 `json:"b"`
}

// Session is a server that runs, and what its kernels held at most at one time. Its key is
// whose the saved hours are.
type Session struct {
	Key
	Start string  `json:"i"`
	Most  Amounts `json:"a"`
}

// Mark is the last run of a kernel that was booked to its end. Gone is since when the kernel
// is not there, in Unix seconds.
type Mark struct {
	Run  int64 `json:"r"`
	Gone int64 `json:"g,omitempty"`
}

// Book is a shard of the ledger.
type Book struct {
	// Since is when the ledger began; what was before is not in it.
	Since time.Time
	// Runs and Marks are by the UID of the kernel, Sessions by that of the server.
	Runs     map[string]*Run
	Marks    map[string]Mark
	Sessions map[string]*Session
	// Days and Months are by date: 2026-11-28, 2026-11.
	Days   map[string]map[Key]*Row
	Months map[string]map[Key]*Row
	// Spans are of what is held no more, or not as it was. swept is when old ones went.
	Spans []*Span
	swept time.Time
}

// NewBook is an empty one.
func NewBook(since time.Time) *Book {
	return &Book{
		Since: since.UTC(), Runs: map[string]*Run{}, Marks: map[string]Mark{}, Sessions: map[string]*Session{},
		Days: map[string]map[Key]*Row{}, Months: map[string]map[Key]*Row{},
	}
}

const (
	dayFormat   = "2006-01-02"
	monthFormat = "2006-01"
)

func row(of map[string]map[Key]*Row, date string, key Key) *Row {
	if of[date] == nil {
		of[date] = map[Key]*Row{}
	}
	r := of[date][key]
	if r == nil {
		r = &Row{Key: key, Of: map[string]Use{}}
		of[date][key] = r
	}
	return r
}

// change adds to the sums of a day and its month.
func (b *Book) change(day time.Time, key Key, f func(*Row)) {
	f(row(b.Days, day.UTC().Format(dayFormat), key))
	f(row(b.Months, day.UTC().Format(monthFormat), key))
}

// forget drops what is too old.
func (b *Book) forget(now time.Time) {
	now = now.UTC()
	first := now.AddDate(0, 0, 1-KeptDays).Format(dayFormat)
	maps.DeleteFunc(b.Days, func(date string, _ map[Key]*Row) bool { return date < first })
	begin := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	first = begin.AddDate(0, 1-KeptMonths, 0).Format(monthFormat)
	maps.DeleteFunc(b.Months, func(date string, _ map[Key]*Row) bool { return date < first })
	maps.DeleteFunc(b.Marks, func(_ string, m Mark) bool {
		return m.Gone != 0 && now.Sub(time.Unix(m.Gone, 0)) > markKept
	})
	if now.Sub(b.swept).Abs() > time.Hour {
		oldest := now.Add(-spansKept).UnixMilli()
		b.Spans = slices.DeleteFunc(b.Spans, func(s *Span) bool { return s.To < oldest })
		b.swept = now
	}
}

// stored is a book as it lies in a ConfigMap.
type stored struct {
	Version  int                 `json:"version"`
	Since    time.Time           `json:"since"`
	Runs     map[string]*Run     `json:"runs,omitempty"`
	Marks    map[string]Mark     `json:"marks,omitempty"`
	Sessions map[string]*Session `json:"sessions,omitempty"`
	Days     map[string][]*Row   `json:"days,omitempty"`
	Months   map[string][]*Row   `json:"months,omitempty"`
	Spans    []*Span             `json:"spans,omitempty"`
}

// version of what is stored.
const version = 1

// errVersion: a newer release has written it.
var errVersion = errors.New("usage: the ledger is that of a newer release")

func list(of map[string]map[Key]*Row) map[string][]*Row {
	all := make(map[string][]*Row, len(of))
	for date, rows := range of {
		all[date] = slices.SortedFunc(maps.Values(rows), func(a, c *Row) int {
			return cmp.Or(cmp.Compare(a.User, c.User), cmp.Compare(a.Group, c.Group), cmp.Compare(a.KernelSpec, c.KernelSpec), compareBool(a.Client, c.Client))
		})
	}
	return all
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func index(all map[string][]*Row) map[string]map[Key]*Row {
	of := make(map[string]map[Key]*Row, len(all))
	for date, rows := range all {
		of[date] = make(map[Key]*Row, len(rows))
		for _, r := range rows {
			if r.Of == nil {
				r.Of = map[string]Use{}
			}
			of[date][r.Key] = r
		}
	}
	return of
}

// encode packs a book for a ConfigMap.
func (b *Book) encode() (packed []byte, dropped int, err error) { return b.fit(maxBytes) }

// fit packs a book. Where that takes more than so many bytes, spans become coarser; then the
// oldest days go. It tells how many dates that were.
func (b *Book) fit(most int) (packed []byte, dropped int, err error) {
	for tried := false; ; tried = true {
		if packed, err = b.pack(); err != nil || len(packed) <= most {
			return packed, dropped, err
		}
		if !tried {
			b.coarsen(b.latest() - spansExact.Milliseconds())
			continue
		}
		of := b.Days
		if len(of) <= 1 && len(b.Months) > 1 {
			of = b.Months
		}
		if len(of) == 0 && len(b.Spans) > 0 {
			b.Spans = nil
			continue
		}
		if len(of) == 0 {
			return nil, dropped, fmt.Errorf("usage: open runs take %d bytes", len(packed))
		}
		dates := slices.Sorted(maps.Keys(of))
		dates = dates[:max(1, len(dates)*(len(packed)-most)/len(packed))] // so many are too many
		for _, date := range dates {
			delete(of, date)
		}
		dropped += len(dates)
	}
}

func (b *Book) pack() ([]byte, error) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	err := json.NewEncoder(zip).Encode(stored{version, b.Since, b.Runs, b.Marks, b.Sessions, list(b.Days), list(b.Months), b.Spans})
	if err == nil {
		err = zip.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	return packed.Bytes(), nil
}

// decode unpacks a book.
func decode(packed []byte) (*Book, error) {
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	var s stored
	if err := json.NewDecoder(io.LimitReader(zip, maxPlain)).Decode(&s); err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	if s.Version != version {
		return nil, errVersion
	}
	b := NewBook(s.Since)
	maps.Copy(b.Runs, s.Runs)
	maps.Copy(b.Marks, s.Marks)
	maps.Copy(b.Sessions, s.Sessions)
	b.Days, b.Months, b.Spans = index(s.Days), index(s.Months), s.Spans
	return b, nil
}
