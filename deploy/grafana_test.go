package deploy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type datasource struct{ Type, UID string }

type dashboard struct {
	UID, Title, Description string
	Tags                    []string
	SchemaVersion           int
	Annotations             struct {
		List []struct {
			Name, Expr string
			Datasource datasource
		}
	}
	Links      []struct{ Type, URL, Title string }
	Templating struct {
		List []struct {
			Name, Type, Definition string
		}
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               datasource
	GridPos                  struct{ H, W, X, Y int }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Thresholds struct {
				Steps []struct {
					Color string
					Value *float64
				}
			}
		}
	}
	Targets []struct{ Expr, RefID, Format string }
}

func readDashboard(t *testing.T, path string) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(readText(t, path)), &d); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return d
}

// TestDashboards holds the dashboards to what Grafana needs and to what we want of them.
func TestDashboards(t *testing.T) {
	uids := make(map[string]string)
	variable := regexp.MustCompile(`\$\{?([a-z_A-Z]+)`)
	for _, path := range glob(t, "grafana/dashboards/*.json") {
		text, d := readText(t, path), readDashboard(t, path)
		if text != indented(t, path, text) {
			t.Errorf("%s: not indented by two spaces, as jq . does it", path)
		}
		if before := uids[d.UID]; before != "" || d.UID == "" {
			t.Errorf("%s: uid %q is empty or that of %q", path, d.UID, before)
		}
		uids[d.UID] = path
		if d.Title == "" || d.Description == "" || d.SchemaVersion < 39 || !slices.Contains(d.Tags, "leanspec-node") {
			t.Errorf("%s: wants title, description, the tag leanspec-node, and schema version 39", path)
		}
		if len(d.Annotations.List) == 0 || !strings.Contains(d.Annotations.List[0].Expr, "ALERTS{") {
			t.Errorf("%s: no annotations of alerts", path)
		}
		if !slices.ContainsFunc(d.Links, func(l struct{ Type, URL, Title string }) bool { return l.URL+"/" == runbooks }) ||
			!slices.ContainsFunc(d.Links, func(l struct{ Type, URL, Title string }) bool { return l.Type == "dashboards" }) {
			t.Errorf("%s: no link to the runbooks, or to the other dashboard", path)
		}

		defined := []string{"__rate_interval", "__field", "__data", "__url_time_range", "__all"}
		for _, v := range d.Templating.List {
			defined = append(defined, v.Name)
		}
		for _, want := range []string{"datasource", "job", "instance"} {
			if !slices.Contains(defined, want) {
				t.Errorf("%s: no variable %s", path, want)
			}
		}
		for _, use := range variable.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(defined, use[1]) {
				t.Errorf("%s: uses $%s, which is not defined", path, use[1])
			}
		}

		ids, taken := make(map[int]bool), make(map[[2]int]string)
		for _, p := range d.Panels {
			if p.ID == 0 || ids[p.ID] || p.Title == "" {
				t.Errorf("%s: panel %d %q has no title, or no id of its own", path, p.ID, p.Title)
			}
			ids[p.ID] = true
			g := p.GridPos
			if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
				t.Errorf("%s: %s does not fit: %+v", path, p.Title, g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Errorf("%s: %s lies upon %s", path, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			checkPanel(t, path, p)
		}
	}
}

func checkPanel(t *testing.T, path string, p panel) {
	t.Helper()
	if !slices.Contains([]string{"timeseries", "stat", "heatmap", "table", "state-timeline"}, p.Type) {
		t.Errorf("%s: %s is a %s, which Grafana may not have", path, p.Title, p.Type)
	}
	if !strings.Contains(p.Description, "Good: ") {
		t.Errorf("%s: the description of %s does not say what good looks like", path, p.Title)
	}
	if (p.Datasource != datasource{"prometheus", "${datasource}"}) {
		t.Errorf("%s: %s asks %+v, want ${datasource}", path, p.Title, p.Datasource)
	}
	if p.Type != "heatmap" && (p.FieldConfig.Defaults.Unit == "" || len(p.FieldConfig.Defaults.Thresholds.Steps) == 0) {
		t.Errorf("%s: %s has no unit or no thresholds", path, p.Title)
	}
	if len(p.Targets) == 0 {
		t.Errorf("%s: %s asks for nothing", path, p.Title)
	}
	refs := make(map[string]bool)
	for _, target := range p.Targets {
		if target.Expr == "" || target.RefID == "" || refs[target.RefID] {
			t.Errorf("%s: %s has a target without expr, or without a refId of its own", path, p.Title)
		}
		refs[target.RefID] = true
		if strings.Contains(target.Expr, "_bucket") && p.Type == "heatmap" && target.Format != "heatmap" {
			t.Errorf("%s: %s is a heat map of format %q", path, p.Title, target.Format)
		}
		if regexp.MustCompile(`\b(rate|increase)\(`).MatchString(target.Expr) && !strings.Contains(target.Expr, "[$__rate_interval]") {
			t.Errorf("%s: %s has a range of its own, which breaks with other scrape intervals", path, p.Title)
		}
	}
}

// TestProvisioning holds the places that the container knows.
func TestProvisioning(t *testing.T) {
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool              `yaml:"isDefault"`
			JSONData                     map[string]string `yaml:"jsonData"`
		}
	}
	readYAML(t, "grafana/provisioning/datasources/prometheus.yaml", &sources)
	if s := sources.Datasources; len(s) != 1 || s[0].UID != "prometheus" || s[0].Type != "prometheus" || s[0].URL != "http://prometheus:9090" {
		t.Errorf("data sources are %+v", s)
	}
	var providers struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Folder, Type string
			AllowUIUpdates     bool `yaml:"allowUiUpdates"`
			DisableDeletion    bool `yaml:"disableDeletion"`
			Options            map[string]string
		}
	}
	readYAML(t, "grafana/provisioning/dashboards/leanspec-node.yaml", &providers)
	if p := providers.Providers; len(p) != 1 || p[0].Options["path"] != "/var/lib/grafana/dashboards" {
		t.Errorf("providers are %+v", p)
	}
}
