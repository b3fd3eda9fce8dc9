package tsql_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql"
)

// A scenario file is a story: after each line that begins with ">>>" comes a
// batch, after "<<<" what it yields. The line names the session when the story has several, and
// says what is shown: ">>> reader: sees only what is committed". A session
// opens when it is first named; the name "user@…" signs in as that contained user with
// the password Pa55word!, and "secondary" opens the database read-only.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { scenario(t, file) })
	}
}

func scenario(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	db := newMemory(t)
	h := &host{external: map[string]tsql.External{
		"ada@example.com": {Name: "ada@example.com", SID: sqltype.GUID{1, 2, 3}},
		"dba-team":        {Name: "dba-team", SID: sqltype.GUID{4, 5, 6}, Group: true},
	}}
	catalogs := &tsql.Catalogs{}
	sessions := map[string]*tsql.Session{}
	var got strings.Builder
	head, rest, _ := strings.Cut("\n"+string(data), "\n>>>")
	got.WriteString(strings.TrimPrefix(head, "\n"))
	for _, part := range strings.Split(rest, "\n>>>") {
		title, body, _ := strings.Cut(part, "\n")
		batch, _, _ := strings.Cut(body, "\n<<<")
		name, _, _ := strings.Cut(strings.TrimSpace(title), ":")
		s, ok := sessions[name]
		if !ok {
			s = openNamed(t, db, h, name, catalogs)
			sessions[name] = s
		}
		h.asked = nil
		out := run(t, s, batch)
		for _, asked := range h.asked {
			out += "host: " + asked + "\n"
		}
		fmt.Fprintf(&got, "\n>>>%s\n%s\n<<<\n%s", title, batch, out)
	}
	text := strings.TrimPrefix(got.String(), "\n")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.TrimRight(string(data), "\n"), strings.TrimRight(text, "\n")); diff != "" {
		t.Errorf("the story is told otherwise (-want +got); run with -update and read the change:\n%s", diff)
	}
}

func openNamed(t *testing.T, db *memory, h *host, name string, catalogs *tsql.Catalogs) *tsql.Session {
	t.Helper()
	p := admin()
	var target tsql.Database = db
	if name == "secondary" {
		target = &memory{name: db.name, file: db.file, readOnly: true}
	}
	if user, ok := strings.CutPrefix(name, "user@"); ok {
		var err error
		if p, err = tsql.Authenticate(t.Context(), db, user, "Pa55word!"); err != nil {
			t.Fatalf("sign in as %s: %v", user, err)
		}
	}
	o := options(target, h, p)
	o.Catalogs = catalogs
	s, err := tsql.NewSession(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the session: %v", err)
		}
	})
	return s
}
