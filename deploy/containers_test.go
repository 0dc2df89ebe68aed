package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// instruction returns the arguments of the last instruction of a kind in the Dockerfile.
func instruction(t *testing.T, kind string) []string {
	t.Helper()
	lines := regexp.MustCompile(`(?m)^`+kind+` (.*)$`).FindAllStringSubmatch(readText(t, "../Dockerfile"), -1)
	if len(lines) == 0 {
		t.Fatalf("%s instructions in the Dockerfile = 0, want more", kind)
	}
	return strings.Fields(lines[len(lines)-1][1])
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

// TestComposeVolumes checks that no container of the node's image has an anonymous volume, which Docker would keep after
// "docker compose down", and that Prometheus and the logs have the same name for the network.
func TestComposeVolumes(t *testing.T) {
	folder := instruction(t, "VOLUME")[0]
	for file, config := range map[string]string{
		"../docker-compose.yml": "prometheus/prometheus.yml",
		"compose/minimal.yml":   "prometheus/prometheus-minimal.yml",
	} {
		var compose struct {
			Services map[string]struct {
				Image   string
				Labels  map[string]string
				Volumes []string
				Tmpfs   string
			}
		}
		if err := yaml.Unmarshal([]byte(readText(t, file)), &compose); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for name, service := range compose.Services {
			if !strings.Contains(service.Image, "leanspec-node") {
				continue
			}
			if !slices.ContainsFunc(service.Volumes, func(v string) bool { return strings.HasSuffix(v, ":"+folder) }) && service.Tmpfs != folder {
				t.Errorf("%s: volumes of %s = %v, tmpfs = %q, want %s in one of them", file, name, service.Volumes, service.Tmpfs, folder)
			}
			if strings.HasPrefix(name, "node") {
				want := "labels: {instance: " + name + ", network: " + service.Labels["leanspec.network"] + "}"
				if !strings.Contains(readText(t, config), want) {
					t.Errorf("%s: want %q, with the label of the container in %s", config, want, file)
				}
			}
		}
	}
}

// TestAlertmanager checks that Prometheus finds the Alertmanager of docker-compose.yml, and that it finds the receiver.
func TestAlertmanager(t *testing.T) {
	for file, want := range map[string]string{
		"prometheus/prometheus.yml":     "- names: [alertmanager]\n          type: A\n          port: 9093\n",
		"alertmanager/alertmanager.yml": "url: http://notifications:8080/cgi-bin/notify\n",
		"../docker-compose.yml":         "command: httpd -f -p 8080 -h /www\n    volumes:\n      - ./deploy/alertmanager/notify.sh:/www/cgi-bin/notify:ro\n",
	} {
		if text := readText(t, file); !strings.Contains(text, want) {
			t.Errorf("%s: want %q in it", file, want)
		}
	}
	if info, err := os.Stat("alertmanager/notify.sh"); err != nil || info.Mode()&0o111 != 0o111 {
		t.Errorf("alertmanager/notify.sh: mode %v (error %v), want it executable", info, err)
	}
}
