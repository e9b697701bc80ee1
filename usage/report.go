package usage

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// By is what the lines of a report are of.
type By string

// What they can be of.
const (
	ByUser       By = "user"
	ByGroup      By = "group"
	ByKernelSpec By = "kernelspec"
	ByDate       By = "date"
)

// Period is the last days, or else months, up to now.
type Period struct{ Days, Months int }

// dates of the period, the earliest first, in UTC.
func (p Period) dates(now time.Time) []string {
	now = now.UTC()
	dates := make([]string, 0, max(p.Days, p.Months))
	for i := p.Days - 1; i >= 0; i-- {
		dates = append(dates, now.AddDate(0, 0, -i).Format(dayFormat))
	}
	if p.Days > 0 {
		return dates
	}
	first := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	for i := p.Months - 1; i >= 0; i-- {
		dates = append(dates, first.AddDate(0, -i, 0).Format(monthFormat))
	}
	return dates
}

// Hours of one unit of a resource: of a device, a core, a GiB.
type Hours struct {
	Held  float64 `json:"held"`
	Busy  float64 `json:"busy"`
	Saved float64 `json:"saved"`
}

// msPerHour: sums are in thousandths of a unit times milliseconds.
const msPerHour = 1000 * 3600 * 1000

// Hours of a use.
func (u Use) Hours() Hours {
	return Hours{float64(u.Held) / msPerHour, float64(u.Busy) / msPerHour, float64(u.Saved) / msPerHour}
}

// Line is what somebody or something used.
type Line struct {
	// Name of a user, a group, a kernelspec, or a date. Empty: of none.
	Name string `json:"name"`
	// Client: it is that of a gateway, no user of the Hub.
	Client bool `json:"client,omitempty"`
	// Runs that began, and those whose end nobody saw.
	Runs      int64            `json:"runs"`
	Estimated int64            `json:"estimated"`
	Resources map[string]Hours `json:"resources"`
}

// Report sums up a period. User is the Hub user whose hours they are, if it is not nil. Lines are sorted by
// name, and there is one for each date.
func Report(books []*Book, p Period, by By, user *string, now time.Time) []Line {
	type sum struct {
		runs, estimated int64
		of              map[string]Use
	}
	type title struct {
		name   string
		client bool
	}
	sums := map[title]*sum{}
	at := func(name string, client bool) *sum {
		t := title{name, client && by == ByUser}
		if sums[t] == nil {
			sums[t] = &sum{of: map[string]Use{}}
		}
		return sums[t]
	}
	for _, date := range p.dates(now) {
		if by == ByDate {
			at(date, false)
		}
		for _, b := range books {
			of := b.Months
			if p.Days > 0 {
				of = b.Days
			}
			for _, r := range of[date] {
				if user != nil && (r.User != *user || r.Client) {
					continue
				}
				s := at(name(r.Key, by, date), r.Client)
				s.runs, s.estimated = s.runs+r.Runs, s.estimated+r.Estimated
				for resource, use := range r.Of {
					total := s.of[resource]
					total.add(use)
					s.of[resource] = total
				}
			}
		}
	}
	lines := make([]Line, 0, len(sums))
	for t, s := range sums {
		line := Line{Name: t.name, Client: t.client, Runs: s.runs, Estimated: s.estimated, Resources: map[string]Hours{}}
		for resource, use := range s.of {
			line.Resources[resource] = use.Hours()
		}
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, b Line) int { return cmp.Or(cmp.Compare(a.Name, b.Name), compareBool(a.Client, b.Client)) })
	return lines
}

func name(k Key, by By, date string) string {
	switch by {
	case ByUser:
		return k.User
	case ByGroup:
		return k.Group
	case ByKernelSpec:
		return k.KernelSpec
	case ByDate:
		return date
	}
	return date
}

// Total sums lines up; it has no name.
func Total(lines []Line) Line {
	total := Line{Resources: map[string]Hours{}}
	for _, line := range lines {
		total.Runs, total.Estimated = total.Runs+line.Runs, total.Estimated+line.Estimated
		for resource, h := range line.Resources {
			sum := total.Resources[resource]
			total.Resources[resource] = Hours{sum.Held + h.Held, sum.Busy + h.Busy, sum.Saved + h.Saved}
		}
	}
	return total
}

// Resources names those of a report, devices first.
func Resources(lines []Line) []string {
	found := map[string]bool{}
	for _, line := range lines {
		for resource := range line.Resources {
			found[resource] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b string) int {
		first := func(name string) int {
			if IsDevice(name) {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(first(a), first(b)), cmp.Compare(a, b))
	})
}

// Prices of an hour of one unit of a resource, in whatever currency.
type Prices map[string]float64

// Of is the cost of the hours held of one resource; false where it has no price.
func (p Prices) Of(resource string, h Hours) (cost float64, priced bool) {
	price, priced := p[resource]
	return price * h.Held, priced
}

// Cost is what the hours held of a line cost; false where none of them has a price.
func (p Prices) Cost(l Line) (cost float64, priced bool) {
	for resource, hours := range l.Resources {
		if price, has := p[resource]; has {
			cost, priced = cost+price*hours.Held, true
		}
	}
	return cost, priced
}
