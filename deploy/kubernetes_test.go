package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// overlays are the sets of nodes that can run in one namespace.
var overlays = []string{"follower", "validator"}

// object holds the fields of a Kubernetes object that these tests check.
type object struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Data map[string]string // of a ConfigMap
	Spec struct {
		Type                     string
		ClusterIP                string `yaml:"clusterIP"`
		PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
		ServiceName              string `yaml:"serviceName"`
		Replicas                 int
		Selector                 map[string]any
		PodSelector              map[string]any `yaml:"podSelector"`
		Ports                    []struct {
			Name, Protocol string
			Port           int
			TargetPort     string `yaml:"targetPort"`
			NodePort       int    `yaml:"nodePort"`
		}
		Ingress []struct {
			Ports []struct{ Port, Protocol string }
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
					Image           string
					ImagePullPolicy string `yaml:"imagePullPolicy"`
					Args            []string
					Env             []struct {
						Name, Value string
						ValueFrom   struct {
							ResourceFieldRef struct{ Resource string } `yaml:"resourceFieldRef"`
						} `yaml:"valueFrom"`
					}
					Resources struct{ Limits map[string]string }
					Ports     []struct {
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
					VolumeMounts []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct{ Name string }
			}
		}
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// build returns the objects of a folder as "kustomize build" writes them. The restrictions are those of "kubectl apply -k".
func build(t *testing.T, folder string) []byte {
	t.Helper()
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("kubernetes", folder))
	if err != nil {
		t.Fatal(err)
	}
	text, err := objects.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// objects returns the objects of a folder, by kind and name.
func objects(t *testing.T, folder string) map[string]object {
	t.Helper()
	found := make(map[string]object)
	decoder := yaml.NewDecoder(bytes.NewReader(build(t, folder)))
	for {
		var o object
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("%s: %v", folder, err)
		}
		found[o.Kind+" "+o.Metadata.Name] = o
	}
}

// TestKubernetes checks for each set of nodes that its objects fit together, that the pods use the ports, the user and the volume
// of the image, and that the probes use the health endpoints of the node.
func TestKubernetes(t *testing.T) {
	for _, folder := range append(slices.Clone(overlays), "validator-volume") {
		t.Run(folder, func(t *testing.T) { checkNodes(t, strings.TrimSuffix(folder, "-volume"), objects(t, folder)) })
	}
}

func checkNodes(t *testing.T, instance string, all map[string]object) {
	labels := map[string]string{"app.kubernetes.io/name": "leanspec-node", "app.kubernetes.io/instance": instance}
	set := all["StatefulSet leanspec-node-"+instance].Spec
	want := []string{"NetworkPolicy leanspec-node-", "PodDisruptionBudget leanspec-node-", "Service leanspec-node-", "Service leanspec-nodes-", "StatefulSet leanspec-node-"}
	for i := range set.Replicas {
		want = append(want, fmt.Sprintf("Service leanspec-quic-%d-", i))
	}
	for i := range want {
		want[i] += instance
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Fatalf("objects = %v, want %v", got, want)
	}
	pod := set.Template.Spec
	node := pod.Containers[0]

	exposed := instruction(t, "EXPOSE")
	ports := make(map[string]string) // protocols by name
	for _, port := range node.Ports {
		ports[port.Name] = port.Protocol
		text := map[int]string{9001: "9001/udp", 5052: "5052", 8008: "8008"}[port.ContainerPort]
		if !slices.Contains(exposed, text) || (port.Protocol == "UDP") != strings.HasSuffix(text, "/udp") {
			t.Errorf("port %s = %d %s, want one of %v, as in the Dockerfile", port.Name, port.ContainerPort, port.Protocol, exposed)
		}
	}
	for name, o := range all {
		for _, port := range o.Spec.Ports {
			if protocol, found := ports[port.TargetPort]; !found || protocol != port.Protocol {
				t.Errorf("%s: target of port %s = %q, protocol %q, want a port of the pods", name, port.Name, port.TargetPort, port.Protocol)
			}
		}
		for _, rule := range o.Spec.Ingress {
			for _, port := range rule.Ports {
				if protocol, found := ports[port.Port]; !found || protocol != port.Protocol {
					t.Errorf("%s: port = %q %s, want a port of the pods", name, port.Port, port.Protocol)
				}
			}
		}
		selector := o.Spec.Selector
		if o.Kind == "NetworkPolicy" {
			selector = o.Spec.PodSelector
		}
		if match, nested := selector["matchLabels"].(map[string]any); nested {
			selector = match
		}
		for label, value := range labels {
			if o.Metadata.Labels[label] != value || selector[label] != value {
				t.Errorf("%s: label %s = %q, in the selector %q, want %q in both", name, label, o.Metadata.Labels[label], selector[label], value)
			}
		}
	}
	for label, value := range labels {
		if set.Template.Metadata.Labels[label] != value {
			t.Errorf("labels of the pods = %v, want %s %s", set.Template.Metadata.Labels, label, value)
		}
	}

	nodes := all["Service leanspec-nodes-"+instance]
	if set.ServiceName != nodes.Metadata.Name || nodes.Spec.ClusterIP != "None" || !nodes.Spec.PublishNotReadyAddresses {
		t.Errorf("service of the nodes = %+v, want the headless service %q of the set, which includes nodes that are not ready", nodes, set.ServiceName)
	}
	pods := regexp.MustCompile(`^--bootnode=/dns4/leanspec-node-` + instance + `-\d+\.` + set.ServiceName + `/udp/9001/quic-v1$`)
	if instance == "follower" {
		bootnodes := 0
		for _, arg := range node.Args {
			if pods.MatchString(arg) {
				bootnodes++
			}
		}
		if bootnodes != set.Replicas {
			t.Errorf("bootnodes in %v = %d, want %d, one for each pod", node.Args, bootnodes, set.Replicas)
		}
	} else if set.Replicas != 1 {
		t.Errorf("replicas = %d, want 1: two pods with the same keys reveal them", set.Replicas)
	}

	// A variable in a value must be defined before it. The addresses in the ENRs are those of the services.
	values, limit := make(map[string]bool), ""
	for _, v := range node.Env {
		for _, use := range regexp.MustCompile(`\$\((\w+)\)`).FindAllStringSubmatch(v.Value, -1) {
			if !values[use[1]] {
				t.Errorf("%s = %s, want %s defined before it", v.Name, v.Value, use[1])
			}
		}
		values[v.Name] = true
		switch v.Name {
		case "GOMEMLIMIT":
			limit = v.ValueFrom.ResourceFieldRef.Resource
		case "LEANSPEC_ADVERTISE_ADDRESS":
			for i := range set.Replicas {
				service := all[fmt.Sprintf("Service leanspec-quic-%d-%s", i, instance)].Spec
				port := strings.ReplaceAll(v.Value, "$(POD_INDEX)", fmt.Sprint(i))
				if service.Type != "NodePort" || service.Selector["apps.kubernetes.io/pod-index"] != fmt.Sprint(i) ||
					len(service.Ports) != 1 || port != fmt.Sprintf("$(HOST_IP):%d", service.Ports[0].NodePort) {
					t.Errorf("address of pod %d = %s, service = %+v, want the node port of the service", i, port, service)
				}
			}
		}
	}
	if limit != "limits.memory" || node.Resources.Limits["memory"] == "" || !values["LEANSPEC_ADVERTISE_ADDRESS"] {
		t.Errorf("env = %+v, limits = %v, want GOMEMLIMIT from the memory limit, and LEANSPEC_ADVERTISE_ADDRESS", node.Env, node.Resources.Limits)
	}
	if !regexp.MustCompile(`^leanspec-node:v\d`).MatchString(node.Image) || node.ImagePullPolicy != "IfNotPresent" {
		t.Errorf("image = %s, pull policy %s, want a version and IfNotPresent", node.Image, node.ImagePullPolicy)
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
	volumes := make(map[string]bool)
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	data := set.VolumeClaimTemplates[0].Metadata.Name
	volumes[data] = true
	mounts := make(map[string]string) // names by path
	for _, m := range node.VolumeMounts {
		mounts[m.MountPath] = m.Name
		if !volumes[m.Name] {
			t.Errorf("volume of %s = %s, want one of %v", m.MountPath, m.Name, volumes)
		}
	}
	if folder := instruction(t, "VOLUME")[0]; mounts[folder] != data || mounts["/app/data"] == "" {
		t.Errorf("volume mounts = %+v, want %s at %s, and /app/data", mounts, data, folder)
	}
}

// TestKubernetesTogether checks that two sets of nodes have no name and no node port in common.
func TestKubernetesTogether(t *testing.T) {
	names, ports := make(map[string]string), make(map[int]string)
	for _, folder := range overlays {
		for name, o := range objects(t, folder) {
			if other := names[name]; other != "" {
				t.Errorf("%s is in %s and %s, want different names", name, other, folder)
			}
			names[name] = folder
			for _, port := range o.Spec.Ports {
				if port.NodePort == 0 {
					continue
				}
				if other := ports[port.NodePort]; other != "" {
					t.Errorf("%s: node port = %d, which %s has too, want another one", name, port.NodePort, other)
				}
				ports[port.NodePort] = name
			}
		}
	}
}

// TestKubernetesMonitoring checks that Prometheus scrapes the nodes of all sets, and that each dashboard is in a ConfigMap.
func TestKubernetesMonitoring(t *testing.T) {
	all := objects(t, "monitoring")
	monitor := all["ServiceMonitor leanspec-node"].Spec
	for _, folder := range overlays {
		service := objects(t, folder)["Service leanspec-nodes-"+folder]
		for label, value := range monitor.Selector["matchLabels"].(map[string]any) {
			if service.Metadata.Labels[label] != value {
				t.Errorf("%s: labels of the service of the nodes = %v, want %s %s, as in the ServiceMonitor", folder, service.Metadata.Labels, label, value)
			}
		}
	}
	if len(monitor.Endpoints) != 1 || monitor.Endpoints[0].Port != "metrics" {
		t.Errorf("endpoints of the ServiceMonitor = %v, want the port metrics", monitor.Endpoints)
	}
	if _, found := all["PrometheusRule leanspec-node"]; !found {
		t.Errorf("objects = %v, want the alert rules", slices.Sorted(maps.Keys(all)))
	}
	held := make(map[string]string)
	for name, o := range all {
		for file, text := range o.Data {
			held[file] = text
			if o.Metadata.Labels["grafana_dashboard"] != "1" || len(text) > 200<<10 {
				t.Errorf("%s: labels %v, %d bytes, want the label grafana_dashboard and at most 200 KiB", name, o.Metadata.Labels, len(text))
			}
		}
	}
	files := append(glob(t, "grafana/dashboards/*.json"), glob(t, "grafana/dashboards/*/*.json")...)
	for _, path := range files {
		if held[filepath.Base(path)] != readText(t, path) {
			t.Errorf("%s: want a ConfigMap with it", path)
		}
	}
	if len(held) != len(files) {
		t.Errorf("files in ConfigMaps = %v, want the %d dashboards", slices.Sorted(maps.Keys(held)), len(files))
	}
}

// TestKubernetesSchemas checks all objects of Kubernetes itself against its schemas. Fields that the schemas do not have fail the
// test.
func TestKubernetesSchemas(t *testing.T) {
	if _, err := exec.LookPath("kubernetes-validate"); err != nil {
		const problem = "kubernetes-validate is not installed. pip install kubernetes-validate installs it."
		if os.Getenv("CI") != "" {
			t.Fatal(problem)
		}
		t.Skip(problem)
	}
	dir := t.TempDir()
	args := []string{"--strict", "--kubernetes-version", "1.37"}
	count := 0
	for _, folder := range append([]string{"validator-volume", "monitoring"}, overlays...) {
		text := build(t, folder)
		count += bytes.Count(text, []byte("\nkind: ")) // of each object, after apiVersion
		path := filepath.Join(dir, folder+".yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	out, err := exec.Command("kubernetes-validate", args...).CombinedOutput()
	// There are no schemas of the Prometheus Operator.
	if passed := bytes.Count(out, []byte(" passed for resource ")); err != nil || passed != count-2 {
		t.Errorf("objects that pass = %d of %d (error %v), want all but the ServiceMonitor and the PrometheusRule:\n%s", passed, count, err, out)
	}
}
