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
	Panels  []panel // of a collapsed row
}

func readDashboard(t *testing.T, path string) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(readText(t, path)), &d); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return d
}

// panels returns all panels, including those of collapsed rows.
func (d dashboard) panels() []panel {
	var all []panel
	for _, p := range d.Panels {
		all = append(append(all, p), p.Panels...)
	}
	return all
}

// TestDashboards checks that the dashboards are valid for Grafana and complete.
func TestDashboards(t *testing.T) {
	uids := make(map[string]string)
	variable := regexp.MustCompile(`\$\{?([a-z_A-Z]+)`)
	for _, path := range glob(t, "grafana/dashboards/*.json") {
		text, d := readText(t, path), readDashboard(t, path)
		if text != indented(t, path, text) {
			t.Errorf("%s: want the format of jq, indented by two spaces", path)
		}
		if before := uids[d.UID]; before != "" || d.UID == "" {
			t.Errorf("%s: uid = %q, want a unique one (%q has the same)", path, d.UID, before)
		}
		uids[d.UID] = path
		if d.Title == "" || d.Description == "" || d.SchemaVersion < 39 || !slices.Contains(d.Tags, "leanspec-node") {
			t.Errorf("%s: title %q, description %q, tags %v, schema version %d; want a title, a description, the tag leanspec-node and at least 39",
				path, d.Title, d.Description, d.Tags, d.SchemaVersion)
		}
		if len(d.Annotations.List) == 0 || !strings.Contains(d.Annotations.List[0].Expr, "ALERTS{") {
			t.Errorf("%s: annotations = %v, want alerts first", path, d.Annotations.List)
		}
		if !slices.ContainsFunc(d.Links, func(l struct{ Type, URL, Title string }) bool { return l.URL+"/" == runbooks }) ||
			!slices.ContainsFunc(d.Links, func(l struct{ Type, URL, Title string }) bool { return l.Type == "dashboards" }) {
			t.Errorf("%s: links = %v, want one to the runbooks and one to the dashboards", path, d.Links)
		}

		defined := []string{"__rate_interval", "__field", "__data", "__url_time_range", "__all"}
		for _, v := range d.Templating.List {
			defined = append(defined, v.Name)
		}
		for _, want := range []string{"datasource", "job", "network", "instance"} {
			if !slices.Contains(defined, want) {
				t.Errorf("%s: variables = %v, want %s", path, defined, want)
			}
		}
		for _, use := range variable.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(defined, use[1]) {
				t.Errorf("%s: undefined variable $%s, want one of %v", path, use[1], defined)
			}
		}

		checkLayout(t, path, d.Panels)
		ids := make(map[int]bool)
		for _, p := range d.panels() {
			if p.ID == 0 || ids[p.ID] || p.Title == "" {
				t.Errorf("%s: panel %d %q, want a title and a unique id", path, p.ID, p.Title)
			}
			ids[p.ID] = true
			if p.Type == "row" {
				continue
			}
			checkPanel(t, path, p)
		}
	}
}

// checkLayout checks that panels fit into the grid of 24 columns and do not overlap. The panels of a collapsed row have their
// own grid.
func checkLayout(t *testing.T, path string, panels []panel) {
	t.Helper()
	taken := make(map[[2]int]string)
	for _, p := range panels {
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s: position of %s = %+v, want it within 24 columns", path, p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Errorf("%s: %s overlaps %s", path, p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		checkLayout(t, path, p.Panels)
	}
}

// checkPanel checks a panel other than a row.
func checkPanel(t *testing.T, path string, p panel) {
	t.Helper()
	if !slices.Contains([]string{"timeseries", "stat", "heatmap", "table", "state-timeline"}, p.Type) {
		t.Errorf("%s: type of %s = %s, want one that is built into Grafana", path, p.Title, p.Type)
	}
	if !strings.Contains(p.Description, "Good: ") {
		t.Errorf("%s: description of %s = %q, want \"Good: \" in it", path, p.Title, p.Description)
	}
	if (p.Datasource != datasource{"prometheus", "${datasource}"}) {
		t.Errorf("%s: data source of %s = %+v, want ${datasource}", path, p.Title, p.Datasource)
	}
	if p.Type != "heatmap" && (p.FieldConfig.Defaults.Unit == "" || len(p.FieldConfig.Defaults.Thresholds.Steps) == 0) {
		t.Errorf("%s: defaults of %s = %+v, want a unit and thresholds", path, p.Title, p.FieldConfig.Defaults)
	}
	if len(p.Targets) == 0 {
		t.Errorf("%s: targets of %s = 0, want more", path, p.Title)
	}
	refs := make(map[string]bool)
	for _, target := range p.Targets {
		if target.Expr == "" || target.RefID == "" || refs[target.RefID] {
			t.Errorf("%s: target of %s = %+v, want an expr and a unique refId", path, p.Title, target)
		}
		refs[target.RefID] = true
		if strings.Contains(target.Expr, "_bucket") && p.Type == "heatmap" && target.Format != "heatmap" {
			t.Errorf("%s: format of %s = %q, want heatmap", path, p.Title, target.Format)
		}
		if regexp.MustCompile(`\b(rate|increase)\(`).MatchString(target.Expr) && !strings.Contains(target.Expr, "[$__rate_interval]") {
			t.Errorf("%s: expression of %s = %s, want the range [$__rate_interval], which fits all scrape intervals", path, p.Title, target.Expr)
		}
	}
}

// TestProvisioning checks the data source and the folder of the dashboards in the container.
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
		t.Errorf("data sources = %+v, want prometheus at http://prometheus:9090", s)
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
		t.Errorf("providers = %+v, want one with the path /var/lib/grafana/dashboards", p)
	}
}
