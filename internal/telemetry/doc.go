// Package telemetry turns what the node does into what an operator sees: metrics and log lines.
//
// The rest of the node reports plain event structs to an [Observer]. The observer alone decides which
// metric moves and which line is written, so the services hold no counters and no log texts of their own, and
// the protocol core holds neither.
//
// Three parts, each usable alone:
//
//   - [Metrics]: every metric definition, on a registry of its own, and the /metrics handler.
//   - [Observer]: events in, metrics and log lines out.
//   - [NewLogger]: one slog handler for text and JSON lines, with a level for each component, and limits for what
//     repeats. No byte from a peer can break a line, and with a [Sink] no reader of the log can hold up the node.
//
// Nothing here imports another package of the node.
package telemetry
