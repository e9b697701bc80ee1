package portal

import (
	"context"
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/a-h/templ"

	"github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/web"
)

const (
	// hoursAge is how old what is told of hours may be, beyond the minute in which it is written.
	hoursAge    = 10 * time.Second
	defaultDays = 7
)

// hours is the ledger as it was a moment ago.
type hours struct {
	read func(context.Context) ([]*usage.Book, error)
	age  time.Duration
	now  func() time.Time

	mu     sync.Mutex
	latest []*usage.Book
	at     time.Time
}

// get gives books that are not to be changed.
func (h *hours) get(ctx context.Context) ([]*usage.Book, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if age := now.Sub(h.at); !h.at.IsZero() && age >= 0 && age < h.age {
		return h.latest, nil
	}
	books, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	h.latest, h.at = books, now
	return books, nil
}

// asking is what is asked for of hours.
type asking struct {
	period   usage.Period
	by       usage.By
	resource string  // of a page; empty: the first
	user     *string // nil: everybody
}

// hoursQuery reads it.
func (r *request) hoursQuery(own bool) (asking, error) {
	a := asking{by: usage.ByGroup}
	if own {
		a.by, a.user = usage.ByKernelSpec, &r.person.User
	}
	values, err := r.query(nil)
	if err != nil {
		return a, err
	}
	for name, value := range values {
		switch name {
		case "days":
			a.period.Days, err = number(value, usage.KeptDays)
		case "months":
			a.period.Months, err = number(value, usage.KeptMonths)
		case "by":
			switch by := usage.By(value); by {
			case usage.ByDate, usage.ByKernelSpec, usage.ByGroup, usage.ByUser:
				a.by = by
			default:
				err = &malformed{"The query parameter by must be date, user, group or kernelspec."}
			}
		case "user":
			if own {
				return a, errNoParameter
			}
			if value != "" {
				a.user = &value
			}
		case "resource":
			if r.isAPI() {
				return a, errNoParameter
			}
			a.resource = value
		default:
			return a, errNoParameter
		}
		if err != nil {
			return a, err
		}
	}
	if a.period.Months == 0 && a.period.Days == 0 {
		a.period.Days = defaultDays
	}
	if a.period.Days > 0 {
		a.period.Months = 0
	}
	return a, nil
}

func number(value string, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return 0, &malformed{"The query parameters days and months must be from 1 to 35 and from 1 to 24."}
	}
	return n, nil
}

// toldHours answers a request with lines of the ledger.
func (p *Portal) toldHours(own bool, answer func(*request, asking, []usage.Line) error) func(*request) error {
	return func(r *request) error {
		a, err := r.hoursQuery(own)
		if err != nil {
			return err
		}
		lines, err := p.report(r, a, a.by)
		if err != nil {
			return err
		}
		return answer(r, a, lines)
	}
}

// report is what is told.
func (p *Portal) report(r *request, a asking, by usage.By) ([]usage.Line, error) {
	books, err := p.hours.get(r.Context())
	if err != nil {
		return nil, err
	}
	if a.user != nil && *a.user == "" {
		return nil, nil // nobody's own
	}
	return usage.Report(books, a.period, by, a.user, p.deps.Now()), nil
}

// pricedLine is a line with what it costs.
type pricedLine struct {
	usage.Line
	Cost *float64 `json:"cost,omitempty"`
}

func (p *Portal) priced(l usage.Line) pricedLine {
	line := pricedLine{Line: l}
	if cost, priced := p.config.Prices.Cost(l); priced {
		line.Cost = &cost
	}
	return line
}

// told are hours as the API tells them.
type told struct {
	By       usage.By     `json:"by"`
	Days     int          `json:"days,omitempty"`
	Months   int          `json:"months,omitempty"`
	Currency string       `json:"currency,omitempty"`
	Prices   usage.Prices `json:"prices"`
	Items    []pricedLine `json:"items"`
	Total    pricedLine   `json:"total"`
}

func (p *Portal) usage(own bool) func(*request) error {
	return p.toldHours(own, func(r *request, a asking, lines []usage.Line) error {
		answer := told{By: a.by, Days: a.period.Days, Months: a.period.Months, Currency: p.config.Currency, Prices: p.config.Prices, Items: []pricedLine{}}
		if answer.Prices == nil {
			answer.Prices = usage.Prices{}
		}
		for _, line := range lines {
			answer.Items = append(answer.Items, p.priced(line))
		}
		answer.Total = p.priced(usage.Total(lines))
		return r.json(answer)
	})
}

func (p *Portal) hoursPage(own bool) func(*request) error {
	return p.toldHours(own, func(r *request, a asking, lines []usage.Line) error {
		dates, err := p.report(r, a, usage.ByDate)
		if err != nil {
			return err
		}
		h := web.Hours{Own: own, Period: a.period, By: a.by, Resource: a.resource, Lines: lines, Dates: dates, Prices: p.config.Prices, Currency: p.config.Currency}
		if a.user != nil && !own {
			h.Whose = *a.user
		}
		return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.HoursPage(c, h) })
	})
}

// hoursTable is the same as a file of comma-separated values, in English and with points.
func (p *Portal) hoursTable(own bool) func(*request) error {
	return p.toldHours(own, func(r *request, a asking, lines []usage.Line) error {
		r.w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		r.w.Header().Set("Content-Disposition", `attachment; filename="hours-by-`+string(a.by)+`.csv"`)
		table := csv.NewWriter(r.w)
		resources := usage.Resources(lines)
		head := []string{string(a.by), "runs", "runs_estimated"}
		for _, resource := range resources {
			head = append(head, plain(resource)+"_hours_held", plain(resource)+"_hours_busy", plain(resource)+"_hours_saved")
		}
		_ = table.Write(append(head, "cost")) // Flush tells
		for _, line := range lines {
			cells := []string{plain(line.Name), strconv.FormatInt(line.Runs, 10), strconv.FormatInt(line.Estimated, 10)}
			for _, resource := range resources {
				h := line.Resources[resource]
				cells = append(cells, decimal(h.Held), decimal(h.Busy), decimal(h.Saved))
			}
			cost := ""
			if c, priced := p.config.Prices.Cost(line); priced {
				cost = decimal(c)
			}
			_ = table.Write(append(cells, cost))
		}
		table.Flush()
		return table.Error()
	})
}

func decimal(n float64) string { return strconv.FormatFloat(n, 'f', 4, 64) }

// plain is a name that no spreadsheet takes for a formula.
func plain(name string) string {
	if name != "" && strings.ContainsRune("=+-@\t\r", rune(name[0])) {
		return "'" + name
	}
	return name
}
