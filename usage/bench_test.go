package usage

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkStandings is what a leader does every second where 1,000 users had 20 kernels of an hour each day
// for as long as anything is kept.
func BenchmarkStandings(b *testing.B) {
	books := make([]*Book, Shards)
	for i := range books {
		books[i] = NewBook(noon)
	}
	for user := range 1000 {
		name := fmt.Sprint("user-", user)
		book := books[ShardOf(name)]
		for run := range KeptDays * 20 {
			r := &Run{Key: Key{User: name, Group: fmt.Sprint("group-", user%10)}, Amounts: Amounts{gpu: 1000, CPU: 2000, Memory: 8000}}
			book.hold(r, int64(time.Hour/time.Millisecond)-int64(user), noon.Add(-time.Duration(run)*72*time.Minute+time.Duration(user)*7919*time.Millisecond))
			book.note(r)
		}
	}
	var budgets []Budget
	for group := range 10 {
		for _, perUser := range []bool{true, false} {
			budgets = append(budgets, Budget{Policy: fmt.Sprint("group-", group), Resource: gpu, Limit: hours(40), PerUser: perUser, Window: Window{Rolling: 168 * time.Hour}})
		}
	}
	b.Run("standings", func(b *testing.B) {
		for b.Loop() {
			NewStandings(books, budgets, noon)
		}
	})
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			packed, err := books[0].pack()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(packed)), "bytes")
			b.ReportMetric(float64(len(books[0].Spans)), "spans")
		}
	})
}
