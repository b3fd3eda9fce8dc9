package main

import (
	"bytes"
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/sqlconn"
)

// files lists the files of the lab's state that hold text, in either of the
// forms in which text travels and lies.
func (p *processes) files(text string) []string {
	p.t.Helper()
	var wide []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	var found []string
	seen := 0
	err := filepath.WalkDir(p.dir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		if bytes.Contains(content, []byte(text)) || bytes.Contains(content, wide) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil || seen < 10 {
		p.t.Fatalf("%d files were read: %v", seen, err)
	}
	return found
}

func (p *processes) database(name string) *sql.DB {
	p.t.Helper()
	options, err := (&labSQL{dir: p.dir()}).connect(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	db, err := sqlconn.Open(options, hostOf(lab.ArticlePrimary), name)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = db.Close() }) // the lab may be gone by then
	return db
}

func (p *processes) exec(db *sql.DB, statements ...string) {
	p.t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(p.t.Context(), statement); err != nil {
			p.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// plant has a marker go wherever a database puts text: rows, indexes, sorts,
// temporary tables, what is updated and deleted again, and what is rolled back.
func (p *processes) plant(db *sql.DB, marker string) {
	p.t.Helper()
	p.exec(db,
		"CREATE TABLE secrets_"+marker+" (id int IDENTITY PRIMARY KEY, narrow varchar(100), wide nvarchar(max), INDEX i (narrow))",
		"INSERT secrets_"+marker+" (narrow, wide) SELECT TOP 200 '"+marker+"', REPLICATE(CAST(N'"+marker+"' AS nvarchar(max)), 2000) FROM sys.all_columns",
		"SELECT * INTO #copy FROM secrets_"+marker+"; UPDATE #copy SET narrow = narrow + 'x'; SELECT narrow, COUNT(*) FROM #copy GROUP BY narrow ORDER BY narrow",
		"DELETE secrets_"+marker+" WHERE id % 3 = 0; UPDATE secrets_"+marker+" SET narrow = 'gone' WHERE id % 3 = 1",
		"BEGIN TRANSACTION; INSERT secrets_"+marker+" (narrow) VALUES ('"+marker+"'); ROLLBACK",
	)
}

func (p *processes) awaitState(db *sql.DB, want int) {
	p.t.Helper()
	const query = "SELECT encryption_state FROM sys.dm_database_encryption_keys WHERE database_id = DB_ID()"
	state := 0
	for deadline := time.Now().Add(60 * time.Second); state != want; <-time.After(20 * time.Millisecond) {
		if err := db.QueryRowContext(p.t.Context(), query).Scan(&state); err != nil && !strings.Contains(err.Error(), "no rows") {
			p.t.Fatal(err)
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the encryption state stays %d, want %d", state, want)
		}
	}
}

// Nothing of what a database holds lies readable in any file of the lab, on
// either side, in data, log, backups and what a killed lab leaves behind; and
// with TDE off it does, so that this test would see it.
func TestNoFileOfTheLabHoldsPlaintext(t *testing.T) {
	p := newProcesses(t)
	p.start()
	if text, err := p.tool("lab", "seed", "--dir", p.dir()); err != nil {
		t.Fatal(err, text)
	}
	const marker, open, closed = "KreuzschluesselPlainA", "KreuzschluesselPlainB", "KreuzschluesselPlainC"
	db := p.database("orders")
	p.plant(db, marker)
	remote, err := lab.Find(t.Context(), p.dir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Advance(t.Context(), time.Hour); err != nil { // a log backup is due
		t.Fatal(err)
	}
	<-time.After(300 * time.Millisecond)
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for n := 0; n < 50; n++ {
			if _, err := db.ExecContext(t.Context(), "INSERT secrets_"+marker+" (narrow, wide) VALUES (@p1, @p1)", marker); err != nil {
				return // the lab was killed
			}
		}
	}()
	<-time.After(30 * time.Millisecond)
	p.kill()
	<-writing
	if found := p.files(marker); len(found) > 0 {
		t.Errorf("with TDE on the text lies in %v", found)
	}

	p.start()
	db = p.database("orders")
	p.exec(db, "ALTER DATABASE CURRENT SET ENCRYPTION OFF")
	p.awaitState(db, 1)
	p.plant(db, open)
	if found := p.files(open); len(found) == 0 {
		t.Error("with TDE off the text lies nowhere: the search finds nothing")
	}
	p.exec(db, "ALTER DATABASE CURRENT SET ENCRYPTION ON")
	p.awaitState(db, 3)
	p.plant(db, closed)
	p.kill()
	if found := p.files(closed); len(found) > 0 {
		t.Errorf("with TDE on again the text lies in %v", found)
	}
}
