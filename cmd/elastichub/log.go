package main

import (
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

// logger needs a valid configuration.
func (c logConfig) logger(w io.Writer) *slog.Logger {
	level, _ := c.level()
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
