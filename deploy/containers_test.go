package deploy_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// object is what these tests look at in an object of Kubernetes.
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

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// instruction returns the words of the last instruction of a kind in the Dockerfile.
func instruction(t *testing.T, kind string) []string {
	t.Helper()
	lines := regexp.MustCompile(`(?m)^`+kind+` (.*)$`).FindAllStringSubmatch(string(read(t, "../Dockerfile")), -1)
	if len(lines) == 0 {
		t.Fatalf("the Dockerfile has no %s", kind)
	}
	return strings.Fields(lines[len(lines)-1][1])
}

// objects are those of the base, by kind and name.
func objects(t *testing.T) map[string]object {
	t.Helper()
	found := make(map[string]object)
	var kustomization struct{ Resources []string }
	if err := yaml.Unmarshal(read(t, "kubernetes/base/kustomization.yaml"), &kustomization); err != nil {
		t.Fatal(err)
	}
	for _, name := range kustomization.Resources {
		decoder := yaml.NewDecoder(bytes.NewReader(read(t, filepath.Join("kubernetes/base", name))))
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

// The pods are what the image is: its ports, its user, its folders, and the probes that the node answers.
func TestKubernetes(t *testing.T) {
	all := objects(t)
	want := []string{"PodDisruptionBudget leanspec-node", "Service leanspec-node", "Service leanspec-nodes", "ServiceMonitor leanspec-node", "StatefulSet leanspec-node"}
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
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
			t.Errorf("port %s is %d %s, and the Dockerfile exposes %v", port.Name, port.ContainerPort, port.Protocol, exposed)
		}
	}
	for name, o := range all {
		for _, port := range o.Spec.Ports {
			if !ports[port.TargetPort] {
				t.Errorf("%s: port %s goes to %q, which the pods do not have", name, port.Name, port.TargetPort)
			}
		}
		label := o.Metadata.Labels["app.kubernetes.io/name"]
		if label != "leanspec-node" {
			t.Errorf("%s has the name label %q", name, label)
		}
		selector := o.Spec.Selector
		if labels, nested := selector["matchLabels"].(map[string]any); nested {
			selector = labels
		}
		if selector["app.kubernetes.io/name"] != "leanspec-node" {
			t.Errorf("%s selects %v", name, selector)
		}
	}
	if set.Template.Metadata.Labels["app.kubernetes.io/name"] != "leanspec-node" {
		t.Errorf("the pods have the labels %v", set.Template.Metadata.Labels)
	}

	nodes := all["Service leanspec-nodes"]
	if set.ServiceName != nodes.Metadata.Name || nodes.Spec.ClusterIP != "None" || !nodes.Spec.PublishNotReadyAddresses {
		t.Errorf("the nodes' service is %+v, want the set's %q, headless, with nodes that are not ready", nodes, set.ServiceName)
	}
	bootnodes := 0
	for _, arg := range node.Args {
		if address, found := strings.CutPrefix(arg, "--bootnode="); found {
			bootnodes++
			if !regexp.MustCompile(`^/dns4/leanspec-node-\d+\.leanspec-nodes/udp/9001/quic-v1$`).MatchString(address) {
				t.Errorf("bootnode %s is none of the pods", address)
			}
		}
	}
	if bootnodes != set.Replicas {
		t.Errorf("%d bootnodes for %d pods", bootnodes, set.Replicas)
	}
	monitor := all["ServiceMonitor leanspec-node"].Spec
	if component := monitor.Selector["matchLabels"].(map[string]any)["app.kubernetes.io/component"]; component != nodes.Metadata.Labels["app.kubernetes.io/component"] {
		t.Errorf("Prometheus looks for the component %v", component)
	}
	if len(monitor.Endpoints) != 1 || monitor.Endpoints[0].Port != "metrics" {
		t.Errorf("Prometheus looks at %v", monitor.Endpoints)
	}

	for name, p := range map[string]struct {
		probe
		path string
	}{"startup": {node.StartupProbe, "/livez"}, "liveness": {node.LivenessProbe, "/livez"}, "readiness": {node.ReadinessProbe, "/readyz"}} {
		if p.HTTPGet.Path != p.path || p.HTTPGet.Port != "metrics" {
			t.Errorf("the %s probe asks %+v, want %s on metrics", name, p.HTTPGet, p.path)
		}
	}

	if user := instruction(t, "USER")[0]; user != "1000:1000" || pod.SecurityContext.RunAsUser != 1000 || pod.SecurityContext.RunAsGroup != 1000 || pod.SecurityContext.FSGroup != 1000 || !pod.SecurityContext.RunAsNonRoot {
		t.Errorf("the image's user is %s, and the pods run as %+v", user, pod.SecurityContext)
	}
	if c := node.SecurityContext; !c.ReadOnlyRootFilesystem || c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation || !slices.Contains(c.Capabilities.Drop, "ALL") {
		t.Errorf("the container may too much: %+v", c)
	}
	data := set.VolumeClaimTemplates[0].Metadata.Name
	if !slices.Contains(node.VolumeMounts, volumeMount{data, instruction(t, "VOLUME")[0]}) {
		t.Errorf("volume %s is not at %v: %+v", data, instruction(t, "VOLUME"), node.VolumeMounts)
	}
}

// Prometheus looks at the nodes that a compose file has, at the port of the image, by name.
func TestComposeTargets(t *testing.T) {
	for file, config := range map[string]string{
		"../docker-compose.yml": "prometheus/prometheus.yml",
		"compose/minimal.yml":   "prometheus/prometheus-minimal.yml",
	} {
		var compose struct {
			Services map[string]struct{ Image, Command any }
		}
		if err := yaml.Unmarshal(read(t, file), &compose); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var want []string
		for name, service := range compose.Services {
			if strings.HasPrefix(name, "node") {
				want = append(want, name)
			} else if image, _ := service.Image.(string); strings.HasSuffix(image, ":latest") || !strings.Contains(image, ":") {
				t.Errorf("%s: %s has no version: %s", file, name, image)
			}
			if name == "prometheus" {
				found := false
				for _, word := range service.Command.([]any) {
					found = found || word == "--config.file=/etc/prometheus/"+filepath.Base(config)
				}
				if !found {
					t.Errorf("%s: Prometheus does not read %s", file, config)
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
		if err := yaml.Unmarshal(read(t, config), &prometheus); err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		var got []string
		for _, job := range prometheus.Scrape {
			if job.Job != "leanspec-node" {
				t.Errorf("%s: job %s, and the alerts want leanspec-node", config, job.Job)
			}
			for _, c := range job.Configs {
				name := c.Labels["instance"]
				got = append(got, name)
				if len(c.Targets) != 1 || c.Targets[0] != name+":8008" || c.Labels["network"] == "" {
					t.Errorf("%s: %s is at %v, with labels %v", config, name, c.Targets, c.Labels)
				}
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s watches %v, and %s has %v", config, got, file, want)
		}
	}
}
