package deploy

import (
	"errors"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// object holds the fields of a Kubernetes object that these tests check.
type object struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec struct {
		ClusterIP                string `yaml:"clusterIP"`
		PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
		ServiceName              string `yaml:"serviceName"`
		Replicas                 int
		Selector                 map[string]any
		Ports                    []struct {
			Name, Protocol string
			Port           int
			TargetPort     string `yaml:"targetPort"`
		}
		Endpoints            []struct{ Port string }
		VolumeClaimTemplates []struct{ Metadata struct{ Name string } } `yaml:"volumeClaimTemplates"`
		Template             struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				SecurityContext struct {
					RunAsNonRoot bool `yaml:"runAsNonRoot"`
					RunAsUser    int  `yaml:"runAsUser"`
					RunAsGroup   int  `yaml:"runAsGroup"`
					FSGroup      int  `yaml:"fsGroup"`
				} `yaml:"securityContext"`
				Containers []struct {
					Image string
					Args  []string
					Ports []struct {
						Name          string
						ContainerPort int `yaml:"containerPort"`
						Protocol      string
					}
					StartupProbe    probe `yaml:"startupProbe"`
					LivenessProbe   probe `yaml:"livenessProbe"`
					ReadinessProbe  probe `yaml:"readinessProbe"`
					SecurityContext struct {
						ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
						AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
						Capabilities             struct{ Drop []string }
					} `yaml:"securityContext"`
					VolumeMounts []volumeMount `yaml:"volumeMounts"`
				}
			}
		}
	}
}

type volumeMount struct {
	Name      string
	MountPath string `yaml:"mountPath"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// instruction returns the arguments of the last instruction of a kind in the Dockerfile.
func instruction(t *testing.T, kind string) []string {
	t.Helper()
	lines := regexp.MustCompile(`(?m)^`+kind+` (.*)$`).FindAllStringSubmatch(readText(t, "../Dockerfile"), -1)
	if len(lines) == 0 {
		t.Fatalf("%s instructions in the Dockerfile = 0, want more", kind)
	}
	return strings.Fields(lines[len(lines)-1][1])
}

// objects returns the Kubernetes objects of the base, by kind and name.
func objects(t *testing.T) map[string]object {
	t.Helper()
	found := make(map[string]object)
	var kustomization struct{ Resources []string }
	if err := yaml.Unmarshal([]byte(readText(t, "kubernetes/base/kustomization.yaml")), &kustomization); err != nil {
		t.Fatal(err)
	}
	for _, name := range kustomization.Resources {
		decoder := yaml.NewDecoder(strings.NewReader(readText(t, filepath.Join("kubernetes/base", name))))
		for {
			var o object
			err := decoder.Decode(&o)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			found[o.Kind+" "+o.Metadata.Name] = o
		}
	}
	return found
}

// TestKubernetes checks that the objects fit together, that the pods use the ports, the user and the volume of the image, and
// that the probes use the health endpoints of the node.
func TestKubernetes(t *testing.T) {
	all := objects(t)
	want := []string{"PodDisruptionBudget leanspec-node", "Service leanspec-node", "Service leanspec-nodes", "ServiceMonitor leanspec-node", "StatefulSet leanspec-node"}
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Fatalf("objects = %v, want %v", got, want)
	}
	set := all["StatefulSet leanspec-node"].Spec
	pod := set.Template.Spec
	node := pod.Containers[0]

	exposed := instruction(t, "EXPOSE")
	ports := make(map[string]bool)
	for _, port := range node.Ports {
		ports[port.Name] = true
		text := map[int]string{9001: "9001/udp", 5052: "5052", 8008: "8008"}[port.ContainerPort]
		if !slices.Contains(exposed, text) || (port.Protocol == "UDP") != strings.HasSuffix(text, "/udp") {
			t.Errorf("port %s = %d %s, want one of %v, as in the Dockerfile", port.Name, port.ContainerPort, port.Protocol, exposed)
		}
	}
	for name, o := range all {
		for _, port := range o.Spec.Ports {
			if !ports[port.TargetPort] {
				t.Errorf("%s: target of port %s = %q, want a port of the pods", name, port.Name, port.TargetPort)
			}
		}
		label := o.Metadata.Labels["app.kubernetes.io/name"]
		if label != "leanspec-node" {
			t.Errorf("%s: name label = %q, want leanspec-node", name, label)
		}
		selector := o.Spec.Selector
		if labels, nested := selector["matchLabels"].(map[string]any); nested {
			selector = labels
		}
		if selector["app.kubernetes.io/name"] != "leanspec-node" {
			t.Errorf("%s: selector = %v, want the name label leanspec-node", name, selector)
		}
	}
	if set.Template.Metadata.Labels["app.kubernetes.io/name"] != "leanspec-node" {
		t.Errorf("labels of the pods = %v, want the name label leanspec-node", set.Template.Metadata.Labels)
	}

	nodes := all["Service leanspec-nodes"]
	if set.ServiceName != nodes.Metadata.Name || nodes.Spec.ClusterIP != "None" || !nodes.Spec.PublishNotReadyAddresses {
		t.Errorf("service of the nodes = %+v, want the headless service %q of the set, which includes nodes that are not ready", nodes, set.ServiceName)
	}
	bootnodes := 0
	for _, arg := range node.Args {
		if address, found := strings.CutPrefix(arg, "--bootnode="); found {
			bootnodes++
			if !regexp.MustCompile(`^/dns4/leanspec-node-\d+\.leanspec-nodes/udp/9001/quic-v1$`).MatchString(address) {
				t.Errorf("bootnode = %s, want the address of a pod", address)
			}
		}
	}
	if bootnodes != set.Replicas {
		t.Errorf("%d bootnodes, want %d, one for each pod", bootnodes, set.Replicas)
	}
	monitor := all["ServiceMonitor leanspec-node"].Spec
	if component := monitor.Selector["matchLabels"].(map[string]any)["app.kubernetes.io/component"]; component != nodes.Metadata.Labels["app.kubernetes.io/component"] {
		t.Errorf("component in the selector of the ServiceMonitor = %v, want that of the nodes' service", component)
	}
	if len(monitor.Endpoints) != 1 || monitor.Endpoints[0].Port != "metrics" {
		t.Errorf("endpoints of the ServiceMonitor = %v, want the port metrics", monitor.Endpoints)
	}

	for name, p := range map[string]struct {
		probe
		path string
	}{"startup": {node.StartupProbe, "/livez"}, "liveness": {node.LivenessProbe, "/livez"}, "readiness": {node.ReadinessProbe, "/readyz"}} {
		if p.HTTPGet.Path != p.path || p.HTTPGet.Port != "metrics" {
			t.Errorf("%s probe = %+v, want %s on metrics", name, p.HTTPGet, p.path)
		}
	}

	if user := instruction(t, "USER")[0]; user != "1000:1000" || pod.SecurityContext.RunAsUser != 1000 || pod.SecurityContext.RunAsGroup != 1000 || pod.SecurityContext.FSGroup != 1000 || !pod.SecurityContext.RunAsNonRoot {
		t.Errorf("user of the image = %s, security context of the pods = %+v, want 1000:1000 in both", user, pod.SecurityContext)
	}
	if c := node.SecurityContext; !c.ReadOnlyRootFilesystem || c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation || !slices.Contains(c.Capabilities.Drop, "ALL") {
		t.Errorf("security context of the container = %+v, want a read-only root file system, no escalation and no capabilities", c)
	}
	data := set.VolumeClaimTemplates[0].Metadata.Name
	if !slices.Contains(node.VolumeMounts, volumeMount{data, instruction(t, "VOLUME")[0]}) {
		t.Errorf("volume mounts = %+v, want %s at %v", node.VolumeMounts, data, instruction(t, "VOLUME"))
	}
}

// TestComposeTargets checks that Prometheus scrapes all nodes of a compose file by name, at the metrics port, and that the images
// have versions.
func TestComposeTargets(t *testing.T) {
	for file, config := range map[string]string{
		"../docker-compose.yml": "prometheus/prometheus.yml",
		"compose/minimal.yml":   "prometheus/prometheus-minimal.yml",
	} {
		var compose struct {
			Services map[string]struct{ Image, Command any }
		}
		if err := yaml.Unmarshal([]byte(readText(t, file)), &compose); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var want []string
		for name, service := range compose.Services {
			if strings.HasPrefix(name, "node") {
				want = append(want, name)
			} else if image, _ := service.Image.(string); strings.HasSuffix(image, ":latest") || !strings.Contains(image, ":") {
				t.Errorf("%s: image of %s = %s, want a version", file, name, image)
			}
			if name == "prometheus" {
				found := false
				for _, word := range service.Command.([]any) {
					found = found || word == "--config.file=/etc/prometheus/"+filepath.Base(config)
				}
				if !found {
					t.Errorf("%s: command of Prometheus = %v, want --config.file with %s", file, service.Command, config)
				}
			}
		}
		var prometheus struct {
			Scrape []struct {
				Job     string `yaml:"job_name"`
				Configs []struct {
					Targets []string
					Labels  map[string]string
				} `yaml:"static_configs"`
			} `yaml:"scrape_configs"`
		}
		if err := yaml.Unmarshal([]byte(readText(t, config)), &prometheus); err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		var got []string
		for _, job := range prometheus.Scrape {
			if job.Job != "leanspec-node" {
				t.Errorf("%s: job = %s, want leanspec-node, as in the alerts", config, job.Job)
			}
			for _, c := range job.Configs {
				name := c.Labels["instance"]
				got = append(got, name)
				if len(c.Targets) != 1 || c.Targets[0] != name+":8008" || c.Labels["network"] == "" {
					t.Errorf("%s: %s has targets %v and labels %v, want port 8008 and a network", config, name, c.Targets, c.Labels)
				}
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s: targets = %v, want %v, the nodes of %s", config, got, want, file)
		}
	}
}
