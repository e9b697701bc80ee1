package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
)

// logConfig is how the process logs.
type logConfig struct {
	Level  string
	Format string
}

func (c logConfig) validate() []error {
	var faults []error
	if _, err := c.level(); err != nil {
		faults = append(faults, fmt.Errorf("log.level: %q is not one of debug, info, warn, error", c.Level))
	}
	if c.Format != "json" && c.Format != "text" {
		faults = append(faults, fmt.Errorf("log.format: %q is not one of json, text", c.Format))
	}
	return faults
}

func (c logConfig) level() (slog.Level, error) {
	var level slog.Level
	err := level.UnmarshalText([]byte(c.Level))
	return level, err
}

// logger needs a valid configuration. Until ctx ends, signals change its level, see log-level.
func (c logConfig) logger(ctx context.Context, w io.Writer) *slog.Logger {
	configured, _ := c.level()
	level := &slog.LevelVar{}
	level.Set(configured)
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if c.Format == "text" {
		handler = slog.NewTextHandler(w, options)
	}
	log := slog.New(handler)
	heedSignals(ctx, level, log)
	return log
}
