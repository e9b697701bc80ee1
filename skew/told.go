package skew

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	chart "github.com/elastichub/elastichub/charts/elastichub"
)

// Header is where a part tells what it is, in requests and in answers: a release, a semicolon and
// the number of the protocol, such as "0.2.0; protocol=1". python/elastichub/skew.py has it, too.
const Header = "X-Elastichub-Version"

// Silent is the last release whose parts tell nothing of themselves.
const Silent = "0.1.0"

// Part is one that tells what it is.
type Part string

// The parts, as people are told of them.
const (
	Hub     Part = "ElasticSpawner in the Hub"
	Service Part = "the notebook service"
	Gateway Part = "the kernel gateway"
	Wheel   Part = "the notebook server"
	Agent   Part = "the kernel's agent"
)

// Protocols of the neighbours that have no number of their own elsewhere. That of agents is
// protocol.Version.
const (
	HubProtocol     = 1 // hubapi/openapi.yaml
	GatewayProtocol = 1 // docs/resume-protocol.md, and the REST API that goes with it
)

// Told is what a part tells of itself. The zero value: nothing.
type Told struct {
	Release  string
	Protocol int
}

// Here is what a part of this release tells.
func Here(protocol int) Told { return Told{Release: Release(), Protocol: protocol} }

// Release is that of this tree: the chart's.
var Release = sync.OnceValue(func() string {
	var said struct {
		Version string `json:"version"`
	}
	if err := yaml.Unmarshal(chart.Chart, &said); err != nil || said.Version == "" {
		panic(fmt.Sprintf("skew: Chart.yaml says no version: %v", err)) // it is part of the binary
	}
	return said.Version
})

func (t Told) String() string { return fmt.Sprintf("%s; protocol=%d", t.Release, t.Protocol) }

// longest bounds what is read of a header, in bytes.
const longest = 64

// Parse reads the value of a Header. What is none tells nothing.
func Parse(text string) Told {
	if len(text) > longest {
		return Told{}
	}
	release, rest, _ := strings.Cut(text, ";")
	if _, err := version.ParseSemantic(release); err != nil {
		return Told{}
	}
	told := Told{Release: release}
	if number, is := strings.CutPrefix(strings.TrimSpace(rest), "protocol="); is {
		if protocol, err := strconv.Atoi(number); err == nil && protocol > 0 {
			told.Protocol = protocol
		}
	}
	return told
}

// IsNewer reports whether a part has told a later release than this, or a later protocol.
func (t Told) IsNewer(protocol int) bool { return t.isNewer(Release(), protocol) }

func (t Told) isNewer(here string, protocol int) bool {
	if t.Protocol > protocol {
		return true
	}
	ours, err := version.ParseSemantic(here)
	if err != nil || t.Release == "" {
		return false
	}
	theirs, err := version.ParseSemantic(t.Release)
	return err == nil && ours.LessThan(theirs)
}
