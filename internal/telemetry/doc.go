// Package telemetry turns what the node does into what an operator sees: metrics, log lines and health.
//
// The rest of the node reports plain event structs to an [Observer]. The observer alone decides which
// metric moves and which line is written, so the services hold no counters and no log texts of their own, and
// the protocol core holds neither.
//
// Four parts, each usable alone:
//
//   - [Metrics]: every metric definition, on a registry of its own, and the /metrics handler.
//   - [Observer]: events in, metrics and log lines out.
//   - [NewLogger]: one slog handler for text and JSON lines, with a level for each component, and limits for what
//     repeats. No byte from a peer can break a line, and with a [Sink] no reader of the log can hold up the node.
//   - [Health]: the sync rule, the signs of life of the loops, and the handlers of /health, /livez and /readyz.
//
// Nothing here imports another package of the node.
package telemetry
