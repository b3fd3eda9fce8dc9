package docs_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/crosskeys/crosskeys/lab/tsql/parse"
)

// code is an example in a table's cell.
var code = regexp.MustCompile("^`(.*)`$")

// tableOf has the cells of the rows of the table under a heading of docs/tsql.md.
func tableOf(t *testing.T, heading string, columns int) [][]string {
	t.Helper()
	_, section, found := strings.Cut(readFile(t, "tsql.md"), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var rows [][]string
	for _, line := range strings.Split(section, "\n") {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, "\x00"), "| "), " | ")
		if len(cells) != columns {
			t.Fatalf("%d cells in %q", len(cells), line)
		}
		for i, c := range cells {
			c = strings.ReplaceAll(strings.TrimSpace(c), "\x00", "|")
			if m := code.FindStringSubmatch(c); m != nil {
				c = m[1]
			}
			cells[i] = c
		}
		rows = append(rows, cells)
	}
	if len(rows) < 2 {
		t.Fatalf("no rows under %q", heading)
	}
	return rows[1:]
}

// fixture are the objects that the examples of docs/tsql.md name.
func fixture() []string {
	return []string{
		`CREATE TABLE dbo.u (i int PRIMARY KEY, a int, x int, g int); CREATE TABLE a (i int, n nvarchar(50)); CREATE TABLE b (i int); CREATE TABLE c (i int);
CREATE TABLE d (i int); CREATE TABLE dbo.t (i int IDENTITY(1, 1) PRIMARY KEY, a int, b int, c int, d int, e int, f int)`,
		`CREATE PROCEDURE dbo.p @a int = 1, @b int OUTPUT AS SET @b = @a + 1 RETURN 0`,
	}
}

// Each example runs in a database that has the fixture's objects; it may find
// nothing, or meet an object that is there already (2714) or is not (208, 3701 …), but nothing of it is refused.
func TestExamplesOfTransactSQLRun(t *testing.T) {
	refused := map[int32]bool{102: true, 156: true, 195: true, 40508: true, 40510: true, 40511: true, 40515: true, 40517: true}
	for _, row := range tableOf(t, "What is run", 2) {
		t.Run(row[0], func(t *testing.T) {
			s := newSession(t)
			for _, batch := range fixture() {
				if got := messages(t, s, batch); len(got) > 0 {
					t.Fatalf("%s: %v", batch, got)
				}
			}
			for _, m := range messages(t, s, row[1]) {
				if refused[m.Number] {
					t.Errorf("%s: %d %s", row[1], m.Number, m.Text)
				}
			}
		})
	}
}

func TestExamplesOfRefusedTransactSQLAreRefusedByName(t *testing.T) {
	for _, row := range tableOf(t, "What is refused", 5) {
		t.Run(row[0], func(t *testing.T) {
			_, err := parse.Batch(row[1])
			if reading := err != nil; reading != (row[4] == "reading") {
				t.Fatalf("%s is refused when it is %s, not: %v", row[1], row[4], err)
			}
			got := messages(t, newSession(t), row[1])
			if len(got) == 0 {
				t.Fatalf("%s is taken", row[1])
			}
			m := got[0]
			if strconv.Itoa(int(m.Number)) != row[2] || !strings.Contains(m.Text, row[3]) {
				t.Errorf("%s gives %d %s, not %s with %s", row[1], m.Number, m.Text, row[2], row[3])
			}
		})
	}
}
