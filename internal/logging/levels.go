package logging

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// components lists the parts of the node that write lines, each with its own level. The libraries
// libp2p, quic and pebble log through the node's handler.
var components = []string{
	"api", "chain", "guard", "http", "libp2p", "node", "p2p", "pebble", "quic", "storage", "sync", "validator",
}

// Components returns the names of all components, sorted.
func Components() []string { return slices.Clone(components) }

// LevelSpec has the lowest level that is written, and the levels of the components that differ from it.
type LevelSpec struct {
	Level      slog.Level
	Components map[string]slog.Level
}

// String returns the text that ParseLevels parses, for example info,libp2p=warn,p2p=debug.
func (s LevelSpec) String() string {
	text := levelName(s.Level)
	for _, name := range slices.Sorted(maps.Keys(s.Components)) {
		text += "," + name + "=" + levelName(s.Components[name])
	}
	return text
}

// of returns the lowest level of a component.
func (s LevelSpec) of(component string) slog.Level {
	if level, ok := s.Components[component]; ok {
		return level
	}
	return s.Level
}

// ParseLevels parses a level for all components, levels for single components, or both, separated by
// commas: warn, or p2p=debug, or info,p2p=debug,libp2p=error. The default for all components is info.
func ParseLevels(text string) (LevelSpec, error) {
	spec := LevelSpec{Level: slog.LevelInfo}
	forAll := false
	for part := range strings.SplitSeq(text, ",") {
		name, value, named := strings.Cut(strings.TrimSpace(part), "=")
		if !named {
			value = name
		}
		name = strings.TrimSpace(name)
		if named && !slices.Contains(components, name) {
			return LevelSpec{}, fmt.Errorf("unknown component %q, want one of %s", name, strings.Join(components, ", "))
		}
		level, err := ParseLevel(strings.TrimSpace(value))
		if err != nil {
			return LevelSpec{}, err
		}
		_, twice := spec.Components[name]
		switch {
		case !named && forAll:
			return LevelSpec{}, fmt.Errorf("a second level for all components, %q", value)
		case !named:
			spec.Level, forAll = level, true
		case twice:
			return LevelSpec{}, fmt.Errorf("a second level for component %q", name)
		default:
			if spec.Components == nil {
				spec.Components = make(map[string]slog.Level)
			}
			spec.Components[name] = level
		}
	}
	return spec, nil
}

// Control changes the levels of a logger at run time and counts its lines. It is safe for concurrent use.
type Control struct {
	mu   sync.Mutex
	spec LevelSpec
	// Handlers compare the level of a line with one of these, without the lock.
	others slog.LevelVar
	named  map[string]*slog.LevelVar

	lines [len(levels)]atomic.Uint64
	sink  *Sink // nil if the writer is not a Sink
}

func newControl(spec LevelSpec) *Control {
	c := &Control{named: make(map[string]*slog.LevelVar)}
	for _, name := range components {
		c.named[name] = new(slog.LevelVar)
	}
	c.apply(spec)
	return c
}

func (c *Control) apply(spec LevelSpec) (previous LevelSpec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	previous, c.spec = c.spec, LevelSpec{spec.Level, maps.Clone(spec.Components)}
	c.others.Set(spec.Level)
	for name, level := range c.named {
		level.Set(spec.of(name))
	}
	return previous
}

// level returns the variable that holds the lowest level of a component.
func (c *Control) level(component string) slog.Leveler {
	if level, ok := c.named[component]; ok {
		return level
	}
	return &c.others
}

// LogLevel returns the levels as text.
func (c *Control) LogLevel() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spec.String()
}

// SetLogLevel replaces all levels with those that ParseLevels parses from the text, and returns the
// old and the new levels. On an error it changes nothing.
func (c *Control) SetLogLevel(text string) (previous, now string, err error) {
	spec, err := ParseLevels(text)
	if err != nil {
		return "", "", err
	}
	return c.apply(spec).String(), spec.String(), nil
}

// Dropped returns the number of lines that the writer did not accept.
func (c *Control) Dropped() uint64 {
	if c.sink == nil {
		return 0
	}
	return c.sink.Dropped()
}

// Lines returns the number of lines logged at a level. It includes dropped lines, but not repeated
// lines that were held back.
func (c *Control) Lines(level slog.Level) uint64 { return c.lines[levelIndex(level)].Load() }
