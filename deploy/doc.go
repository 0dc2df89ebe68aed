// Package deploy holds what operators run beside the node: the alert rules of
// Prometheus, the dashboards of Grafana, and tests that keep both true to the
// metrics that the node exports.
package deploy
