// Package panels asks a real Prometheus, its database and its query engine as libraries,
// every question of the chart's dashboards and alerts. It is a module of its own, since these
// would crowd go.mod.
package panels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
)

// Prometheus is a database and what answers queries from it.
type Prometheus struct {
	database *tsdb.DB
	engine   *promql.Engine
}

// Open makes an empty one in a directory.
func Open(directory string) (*Prometheus, error) {
	options := tsdb.DefaultOptions()
	database, err := tsdb.Open(directory, slog.New(slog.DiscardHandler), nil, options, nil)
	if err != nil {
		return nil, err
	}
	return &Prometheus{database: database, engine: promql.NewEngine(promql.EngineOpts{
		MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true,
		Parser: parser.NewParser(parser.Options{}),
	})}, nil
}

// Close ends it.
func (p *Prometheus) Close() error { return errors.Join(p.engine.Close(), p.database.Close()) }

// Scraped adds what a target has told at a time, in Prometheus' text format, with the
// labels of the target. Labels that the text has of itself stay if honour is true, as for a
// target with honorLabels.
func (p *Prometheus) Scraped(ctx context.Context, at time.Time, target map[string]string, text []byte, honour bool) error {
	read, err := textparse.New(text, "text/plain; version=0.0.4", labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return err
	}
	appender := p.database.Appender(ctx)
	for {
		entry, err := read.Next()
		if errors.Is(err, io.EOF) {
			return appender.Commit()
		}
		if err != nil {
			return errors.Join(err, appender.Rollback())
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := read.Series()
		var told labels.Labels
		read.Labels(&told)
		if _, err := appender.Append(0, withTarget(told, target, honour), at.UnixMilli(), value); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", told, err), appender.Rollback())
		}
	}
}

func withTarget(told labels.Labels, target map[string]string, honour bool) labels.Labels {
	b := labels.NewBuilder(told)
	for name, value := range target {
		own := told.Get(name)
		switch {
		case own == "":
			b.Set(name, value)
		case !honour:
			b.Set("exported_"+name, own).Set(name, value)
		}
	}
	return b.Labels()
}

// Put adds samples of one series, one a step, from a time on; NaN is none.
func (p *Prometheus) Put(ctx context.Context, series string, from time.Time, step time.Duration, values []float64) error {
	told, err := parser.NewParser(parser.Options{}).ParseMetric(series)
	if err != nil {
		return err
	}
	appender := p.database.Appender(ctx)
	for i, value := range values {
		if math.IsNaN(value) {
			continue
		}
		if _, err := appender.Append(0, told, from.Add(time.Duration(i)*step).UnixMilli(), value); err != nil {
			return errors.Join(err, appender.Rollback())
		}
	}
	return appender.Commit()
}

// Query is what an expression gives at a time: each number with its labels. Those that are
// no numbers, such as a mean of nothing, are left out: a panel shows nothing for them.
func (p *Prometheus) Query(ctx context.Context, expression string, at time.Time) (promql.Vector, error) {
	query, err := p.engine.NewInstantQuery(ctx, p.database, nil, expression, at)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return nil, result.Err
	}
	vector, err := result.Vector()
	if err != nil {
		return nil, err
	}
	var numbers promql.Vector
	for _, sample := range vector {
		if !math.IsNaN(sample.F) {
			numbers = append(numbers, sample)
		}
	}
	return numbers, nil
}
