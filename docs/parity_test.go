package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// witnessPattern is how a row of docs/parity.md names its witness: a Go test
// with its folder, or a step of the az run.
var witnessPattern = regexp.MustCompile("`((?:[a-z]+/)*[a-z]+)\\.(Test[A-Za-z0-9_]+)`|`(e2e/(?:az|sql)/flow\\.sh)`")

func TestEveryParityRowNamesAWitnessThatExists(t *testing.T) {
	rows := parityRows(t)
	if len(rows) < 40 {
		t.Fatalf("docs/parity.md has %d rows under «What it does»: is it read right?", len(rows))
	}
	tests := testsInTree(t)
	for _, row := range rows {
		witnesses := witnessPattern.FindAllStringSubmatch(row, -1)
		if len(witnesses) == 0 {
			t.Errorf("no witness: %s", row)
		}
		for _, witness := range witnesses {
			if witness[3] == "" && !tests[witness[1]+"."+witness[2]] {
				t.Errorf("there is no test %s in %s: %s", witness[2], witness[1], row)
			}
		}
	}
}

// parityRows are the table rows under the heading «What it does».
func parityRows(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("parity.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## What it does\n")
	if !found {
		t.Fatal("docs/parity.md has no section «What it does»")
	}
	section, _, _ = strings.Cut(section, "\n## What it does not do\n")
	var rows []string
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| What ") && !strings.HasPrefix(line, "| ---") {
			rows = append(rows, line)
		}
	}
	return rows
}

// testsInTree are all Go tests, as folder.TestName.
func testsInTree(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel("..", filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && strings.HasPrefix(function.Name.Name, "Test") {
				tests[filepath.ToSlash(folder)+"."+function.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
