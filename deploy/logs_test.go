package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// alloyValues returns the words in quotation marks of the first match of a pattern's group in deploy/logs/config.alloy.
func alloyValues(t *testing.T, pattern string) []string {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(readText(t, "logs/config.alloy"))
	if match == nil {
		t.Fatalf("logs/config.alloy: want a match of %s", pattern)
	}
	return regexp.MustCompile(`\w+`).FindAllString(match[1], -1)
}

// TestLogLabels checks that the labels that the dashboard, the links and the documentation use are those that Alloy keeps.
func TestLogLabels(t *testing.T) {
	labels := alloyValues(t, `stage\.label_keep \{\s*values = \[(.*)\]`)
	if want := []string{"service_name", "network", "node", "level", "component"}; !slices.Equal(labels, want) {
		t.Errorf("labels = %v, want %v", labels, want)
	}
	metadata := alloyValues(t, `stage\.structured_metadata \{\s*values = \{(.*)\}`)
	for _, name := range []string{"network", "node"} {
		if !strings.Contains(readText(t, "logs/config.alloy"), `target_label  = "`+name+`"`) {
			t.Errorf("logs/config.alloy: want a rule for the label %s", name)
		}
	}

	matcher := regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*\\?"`)
	selector := regexp.MustCompile(`\{service_name=[^{}]*\}`)
	for _, path := range []string{"grafana/dashboards/loki/logs.json", "grafana/provisioning/datasources/loki.yaml", "../docs/logging.md", "logs/config.alloy"} {
		found := selector.FindAllString(readText(t, path), -1)
		if len(found) == 0 {
			t.Errorf("%s: selectors = 0, want more", path)
		}
		for _, s := range found {
			for _, m := range matcher.FindAllStringSubmatch(s, -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s: %s has the label %s, want one of %v", path, s, m[1], labels)
				}
			}
		}
	}

	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			JSONData                     struct {
				DerivedFields []struct {
					Name          string
					MatcherType   string `yaml:"matcherType"`
					MatcherRegex  string `yaml:"matcherRegex"`
					DatasourceUID string `yaml:"datasourceUid"`
					URL           string
					Label         string `yaml:"urlDisplayLabel"`
				} `yaml:"derivedFields"`
			} `yaml:"jsonData"`
		}
	}
	readYAML(t, "grafana/provisioning/datasources/loki.yaml", &sources)
	if s := sources.Datasources; len(s) != 1 || s[0].UID != "loki" || s[0].Type != "loki" || s[0].URL != "http://loki:3100" || len(s[0].JSONData.DerivedFields) == 0 {
		t.Fatalf("data sources = %+v, want loki at http://loki:3100 with derived fields", s)
	}
	for _, f := range sources.Datasources[0].JSONData.DerivedFields {
		if f.MatcherType == "label" && !slices.Contains(append(labels, metadata...), f.MatcherRegex) {
			t.Errorf("link %q: label %s, want one of %v or %v", f.Name, f.MatcherRegex, labels, metadata)
		}
		if f.MatcherType == "regex" {
			root := "0x" + strings.Repeat("0123456789abcdef", 4)
			if m := regexp.MustCompile(f.MatcherRegex).FindStringSubmatch(`{"msg":"block imported","root":"` + root + `"}`); len(m) != 2 || m[1] != root {
				t.Errorf("link %q: match = %q, want the root", f.Name, m)
			}
		}
		if !strings.Contains(f.URL, "$${__value.raw}") {
			t.Errorf("link %q: url = %s, want $${__value.raw} in it", f.Name, f.URL)
		}
	}
}

// TestLogsDashboard checks that the dashboards of metrics and logs link to each other: links of type dashboards list those with
// the same tag, and pass the variables network and instance.
func TestLogsDashboard(t *testing.T) {
	const path = "grafana/dashboards/loki/logs.json"
	text, logs := readText(t, path), readDashboard(t, path)
	if text != indented(t, path, text) {
		t.Errorf("%s: want the format of jq, indented by two spaces", path)
	}
	checkLayout(t, path, logs.Panels)
	for _, p := range logs.Panels {
		if (p.Datasource != datasource{"loki", "${loki}"}) || p.ID == 0 || p.Title == "" || !strings.Contains(p.Description, "Good: ") && p.Type != "logs" {
			t.Errorf("%s: panel = %+v, want the data source ${loki}, an id, a title and a description with \"Good: \"", path, p)
		}
	}
	for _, file := range append(glob(t, "grafana/dashboards/*.json"), path) {
		var d struct {
			Tags  []string
			Links []struct {
				Type        string
				Tags        []string
				IncludeVars bool
				KeepTime    bool
			}
			Templating struct{ List []struct{ Name string } }
		}
		if err := json.Unmarshal([]byte(readText(t, file)), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		linked := false
		for _, l := range d.Links {
			linked = linked || l.Type == "dashboards" && slices.Equal(l.Tags, []string{"leanspec-node"}) && l.IncludeVars && l.KeepTime
		}
		if !linked || !slices.Contains(d.Tags, "leanspec-node") {
			t.Errorf("%s: links = %+v and tags %v, want a link to the dashboards with the tag leanspec-node that keeps variables and time", file, d.Links, d.Tags)
		}
		for _, name := range []string{"network", "instance"} {
			if !slices.ContainsFunc(d.Templating.List, func(v struct{ Name string }) bool { return v.Name == name }) {
				t.Errorf("%s: variables = %+v, want %s", file, d.Templating.List, name)
			}
		}
	}
}

// TestMultiline checks with a real crash that it becomes one entry, and that the lines around it are entries of their own.
func TestMultiline(t *testing.T) {
	if os.Getenv("DEPLOY_TEST_CRASH") != "" {
		crashed := make(chan struct{})
		go func() { panic("crash of the test") }()
		<-crashed
	}
	crash := exec.Command(os.Args[0], "-test.run=^TestMultiline$")
	crash.Env = append(os.Environ(), "DEPLOY_TEST_CRASH=1")
	out, err := crash.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "goroutine ") {
		t.Fatalf("output of the crash (error %v) =\n%s\nwant goroutines", err, out)
	}

	quoted := regexp.MustCompile(`firstline +=\s*("(?:\\.|[^"\\])*")`).FindStringSubmatch(readText(t, "logs/config.alloy"))
	if quoted == nil {
		t.Fatal("logs/config.alloy: want a first line in stage.multiline")
	}
	pattern, err := strconv.Unquote(quoted[1])
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(pattern)
	entries := 0
	log := "{\"msg\":\"slot\"}\n" + string(out) + "{\"msg\":\"started\"}\nleanspec-node: config.yaml: file not found\n"
	for line := range strings.Lines(log) {
		if first.MatchString(line) {
			entries++
		} else if !strings.Contains(string(out), line) {
			t.Errorf("line %q does not begin an entry, want one", line)
		}
	}
	if entries != 4 {
		t.Errorf("entries = %d, want 4: two lines, the crash and the error\n%s", entries, log)
	}
}
