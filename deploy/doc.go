// Package deploy contains what operators run beside the node: the alert rules of Prometheus, the dashboards of Grafana, and the
// files for Docker Compose and Kubernetes. Its tests compare them with the metrics, the flags and the image of the node.
package deploy

import _ "embed"

// AlertRules is the rule file of Prometheus with the alerts for networks of lean nodes.
//
//go:embed prometheus/rules/leanspec-node.yml
var AlertRules string
