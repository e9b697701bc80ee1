package economy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// Measured is how long things take that the replay only models, as other parts of the bench
// have measured them.
type Measured struct {
	// Cold and Warm are the quantiles 0, 0.01, … of a kernel's start from nothing, and of one
	// that is kept ready, until its first cell has run: results/home.json.
	Cold, Warm []time.Duration
	// Save and Load are those of the variables of a mixed notebook: results/park.json.
	Save, Load time.Duration
}

const (
	// podEnds is how long the GPU of a kernel is held after its agent has left: the kubelet looks at
	// its Pods once a second. No part of the bench measures it.
	podEnds = time.Second
	// tick is how late idleness may be noticed, as in package agent.
	tick = 250 * time.Millisecond
)

// Read reads the results of a directory.
func Read(results string) (Measured, error) {
	var home struct {
		Figures struct{ Cold, Warm struct{ Curve []float64 } }
	}
	var park struct {
		Figures []struct {
			Notebook, Way string
			Save, Load    struct{ Seconds float64 }
		}
	}
	for name, into := range map[string]any{"home": &home, "park": &park} {
		raw, err := os.ReadFile(filepath.Join(results, name+".json"))
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			return Measured{}, fmt.Errorf("economy: what %s has measured: %w", name, err)
		}
	}
	m := Measured{Cold: milliseconds(home.Figures.Cold.Curve), Warm: milliseconds(home.Figures.Warm.Curve)}
	for _, p := range park.Figures {
		if p.Notebook == "a mixed notebook" && p.Way == "elastichub" {
			m.Save, m.Load = scaled(time.Second, p.Save.Seconds), scaled(time.Second, p.Load.Seconds)
		}
	}
	if len(m.Cold) == 0 || len(m.Warm) == 0 || m.Save == 0 || m.Load == 0 {
		return Measured{}, fmt.Errorf("economy: %s lacks figures of starts, saves or loads", results)
	}
	return m, nil
}

func milliseconds(curve []float64) []time.Duration {
	list := make([]time.Duration, len(curve))
	for i, ms := range curve {
		list[i] = scaled(time.Millisecond, ms)
	}
	return list
}

// draw takes one of the values that were measured.
func draw(rng *rand.Rand, quantiles []time.Duration) time.Duration {
	return quantiles[rng.IntN(len(quantiles))]
}
