package docs_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The sections of docs/dependencies.md.
const (
	inProduct = "In the product"
	inTests   = "In tests only"
	inTools   = "To check and build"
)

func TestEachDirectRequirementIsDocumentedAtItsVersion(t *testing.T) {
	documented := modulesOnPage(t)
	page := documented[inProduct]
	for module, version := range documented[inTests] {
		page[module] = version
	}
	if diff := cmp.Diff(required(t, "../go.mod", directRequirement), page); diff != "" {
		t.Errorf("go.mod and docs/dependencies.md differ (-go.mod +page):\n%s", diff)
	}
}

func TestEachToolIsDocumentedAtItsVersion(t *testing.T) {
	mod := readFile(t, "../tools/go.mod")
	tools := toolPaths(mod)
	if len(tools) == 0 {
		t.Fatal("no tool in tools/go.mod")
	}
	built := map[string]string{}
	for module, version := range required(t, "../tools/go.mod", anyRequirement) {
		for _, tool := range tools {
			if strings.HasPrefix(tool, module+"/") {
				built[module] = version
			}
		}
	}
	if diff := cmp.Diff(built, modulesOnPage(t)[inTools]); diff != "" {
		t.Errorf("tools/go.mod and docs/dependencies.md differ (-go.mod +page):\n%s", diff)
	}
}

func TestAnIndirectRequirementIsNotADirectOne(t *testing.T) {
	const line = "\texample.com/m v1.0.0 // indirect"
	if directRequirement.MatchString(line) {
		t.Errorf("%q taken for a direct requirement", line)
	}
	if !directRequirement.MatchString("\texample.com/m v1.0.0") {
		t.Error("a direct requirement not recognised")
	}
}

// A requirement stands on a line of a require block, or on one of its own.
var (
	directRequirement = regexp.MustCompile(`^(?:require )?\s*(\S+\.\S+/\S+) (v\S+)$`)
	anyRequirement    = regexp.MustCompile(`^(?:require )?\s*(\S+\.\S+/\S+) (v\S+)(?: // indirect)?$`)
	tool              = regexp.MustCompile(`(?m)^(?:tool )?\s*(\S+\.\S+/cmd/\S+)$`)
)

func required(t *testing.T, file string, requirement *regexp.Regexp) map[string]string {
	t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(readFile(t, file)) {
		if m := requirement.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			found[m[1]] = m[2]
		}
	}
	return found
}

func toolPaths(mod string) []string {
	var paths []string
	for _, m := range tool.FindAllStringSubmatch(mod, -1) {
		paths = append(paths, m[1])
	}
	return paths
}

// modulesOnPage returns the versions of the modules in each section's table;
// rows without a licence or a reason do not count.
func modulesOnPage(t *testing.T) map[string]map[string]string {
	t.Helper()
	row := regexp.MustCompile("^\\| `([^`]+)` \\| (v\\S+) \\| [A-Z][A-Za-z0-9.-]+ \\| [^|]{10,} \\|$")
	found, section := map[string]map[string]string{}, ""
	for line := range strings.Lines(readFile(t, "dependencies.md")) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = title
			found[section] = map[string]string{}
		}
		if m := row.FindStringSubmatch(line); m != nil {
			found[section][m[1]] = m[2]
		}
	}
	return found
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
