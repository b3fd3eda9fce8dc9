package tsql_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// A file of probes holds statements with the answer that SQL Server gives them,
// or with the number by which the lab refuses them (195, 208, 40510, 40517).
// A probe is a batch, its answer is the line that begins with "->". Probes of
// one file run in one session, one after the other; "===" begins another
// session in a new database. A line with "--" alone in front is a comment.
//
// An answer is written short: the cells of a row are parted by "|", rows by ";", result sets
// by " // ". "!8134" is an error, with "@3" its line when that matters, "'text'" what is printed, "(2)" a count without rows,
// "." nothing at all. "[int, varchar(3)]" in front of a result set are the
// types of its columns; without it they may be any. What begins with "?" is an
// answer of which only the part behind it has to be found. A result set that
// ends in an error before its first row is not shown, "¶" is the end of a line in a text.
func TestProbes(t *testing.T) {
	files, err := filepath.Glob("testdata/probes/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no probes: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { probes(t, file) })
	}
}

func probes(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, newMemory(t), &host{}, admin())
	var batch []string
	for n, line := range strings.Split(string(data), "\n") {
		switch {
		case line == "===":
			s = open(t, newMemory(t), &host{}, admin())
		case strings.HasPrefix(line, "->"):
			want := strings.TrimPrefix(strings.TrimPrefix(line, "->"), " ")
			p := &probe{types: strings.Contains(want, "["), lines: strings.Contains(want, "@")}
			if err := s.Batch(t.Context(), strings.Join(batch, "\n"), p); err != nil {
				p.add(fmt.Sprintf("ended: %v", err))
			}
			if got := p.answer(); !sameAnswer(got, want) {
				t.Errorf("%s:%d: %s\ngot  %s\nwant %s\n%s", filepath.Base(file), n+1, strings.Join(batch, "\n"), got, want, p.texts)
			}
			batch = nil
		case len(batch) == 0 && (line == "" || strings.HasPrefix(line, "--")):
		default:
			batch = append(batch, line)
		}
	}
	if len(batch) > 0 {
		t.Errorf("%s: the last batch has no answer: %s", file, batch)
	}
}

func sameAnswer(got, want string) bool {
	if part, found := strings.CutPrefix(want, "?"); found {
		return strings.Contains(got, strings.TrimSpace(part))
	}
	plain := strings.NewReplacer("numeric(", "decimal(", ", ", ",").Replace
	return plain(got) == plain(want)
}

// probe writes what a session yields down in short.
type probe struct {
	types, lines bool
	parts        []string
	columns      []sqltype.Column
	rows         []string
	open         bool
	texts        string
}

func (p *probe) add(part string) { p.parts = append(p.parts, part) }

func (p *probe) answer() string {
	if p.open {
		p.add("open:" + strings.Join(p.rows, ";"))
	}
	if len(p.parts) == 0 {
		return "."
	}
	return strings.Join(p.parts, " // ")
}

func (p *probe) Columns(c []sqltype.Column) error {
	if p.open {
		return errors.New("columns within a result set")
	}
	p.columns, p.rows, p.open = c, nil, true
	return nil
}

func (p *probe) Row(values []any) error {
	if !p.open {
		return errors.New("a row without columns")
	}
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = show(v)
		if _, isTime := v.(time.Time); isTime {
			cells[i] = strings.TrimSuffix(cells[i], " +00:00")
		}
	}
	p.rows = append(p.rows, strings.ReplaceAll(strings.Join(cells, "|"), "\n", "¶"))
	return nil
}

func (p *probe) Done(d sqltype.Done) error {
	switch {
	case p.open:
		text := strings.Join(p.rows, ";")
		if len(p.rows) == 0 {
			text = "empty"
		}
		if p.types {
			var all []string
			for _, c := range p.columns {
				one := value.Describe(c.Type)
				if c.Name != "" {
					one = c.Name + " " + one
				}
				all = append(all, one)
			}
			text = "[" + strings.Join(all, ", ") + "] " + text
		}
		if !d.Failed || len(p.rows) > 0 {
			p.add(text)
		}
		p.open = false
	case d.HasCount:
		p.add(fmt.Sprintf("(%d)", d.Count))
	}
	return nil
}

func (p *probe) Message(m sqltype.Message) error {
	p.texts += m.Text + "\n"
	switch {
	case m.Class > 10 && p.lines:
		p.add(fmt.Sprintf("!%d@%d", m.Number, m.Line))
	case m.Class > 10:
		p.add(fmt.Sprintf("!%d", m.Number))
	default:
		p.add("'" + strings.ReplaceAll(m.Text, "\n", "¶") + "'")
	}
	return nil
}

func (p *probe) ReturnStatus(int32) error                           { return nil }
func (p *probe) ReturnValue(sqltype.Param) error                    { return nil }
func (p *probe) DatabaseChanged(string, string) error               { return nil }
func (p *probe) Transaction(sqltype.TransactionState, uint64) error { return nil }
