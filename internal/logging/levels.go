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

// components are the parts of the node that lines come from; a line says which as its component. Every part has a
// level of its own. libp2p, quic and pebble are the libraries that log through this node's handler.
var components = []string{
	"api", "chain", "guard", "http", "libp2p", "node", "p2p", "pebble", "quic", "storage", "sync", "validator",
}

// Components returns the names of all components, sorted.
func Components() []string { return slices.Clone(components) }

// LevelSpec says which lines are written: the lowest level, and those of the components that differ.
type LevelSpec struct {
	Level      slog.Level
	Components map[string]slog.Level
}

// String returns the text that ParseLevels reads as the same, info,libp2p=warn,p2p=debug for example.
func (s LevelSpec) String() string {
	text := levelName(s.Level)
	for _, name := range slices.Sorted(maps.Keys(s.Components)) {
		text += "," + name + "=" + levelName(s.Components[name])
	}
	return text
}

// of returns the lowest level that a component writes.
func (s LevelSpec) of(component string) slog.Level {
	if level, ok := s.Components[component]; ok {
		return level
	}
	return s.Level
}

// ParseLevels reads a level for all, levels for components, or both, with commas between them: warn, or p2p=debug,
// or info,p2p=debug,libp2p=error. Without a level for all it is info.
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

// Control changes what a logger writes while it runs, and counts its lines.
type Control struct {
	mu   sync.Mutex // of those who change the levels
	spec LevelSpec
	// A line's level is compared with one of these, without a lock.
	others slog.LevelVar
	named  map[string]*slog.LevelVar

	lines [len(logLevels)]atomic.Uint64
	sink  *Sink // where lines may be dropped, or nil
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

// SetLogLevel changes all levels to what ParseLevels reads from the text, and returns what they were and are. After
// an error nothing is changed.
func (c *Control) SetLogLevel(text string) (previous, now string, err error) {
	spec, err := ParseLevels(text)
	if err != nil {
		return "", "", err
	}
	return c.apply(spec).String(), spec.String(), nil
}

// wrote counts a line.
func (c *Control) wrote(level slog.Level) {
	c.lines[levelIndex(level)].Add(1)
}

// Dropped returns how many lines were lost because the writer of the log did not take them.
func (c *Control) Dropped() uint64 {
	if c.sink == nil {
		return 0
	}
	return c.sink.Dropped()
}

// Lines returns how many lines of a level were logged. Dropped lines count; those held back by the limit on repeats
// do not.
func (c *Control) Lines(level slog.Level) uint64 {
	return c.lines[levelIndex(level)].Load()
}

// levelIndex returns the place of a level in logLevels; levels between them count as the lower one.
func levelIndex(level slog.Level) int {
	i := 0
	for i+1 < len(logLevels) && level >= logLevels[i+1] {
		i++
	}
	return i
}
