package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// applicationID stands in SQLite's header: «crky».
const applicationID = 0x63726b79

// Conn opens an SQLite connection to the database, which the caller closes, after its statements. It is for one goroutine
// at a time. ctx bounds the opening alone.
//
// A writer waits for its turn as long as the context of the connection's SetInterrupt lasts, and fails with sqlite3.BUSY
// when that ends. A transaction that has read and then wants to write fails with sqlite3.BUSY_SNAPSHOT when another has
// written since, and has to begin anew. A transaction's pages are in memory until it commits. What the engine refuses is in the error's chain: ErrReadOnly, ErrCorrupt, ErrClosed.
func (d *DB) Conn(ctx context.Context) (*sqlite3.Conn, error) {
	name, f, err := d.files.expect()
	if err != nil {
		return nil, err
	}
	c, err := sqlite3.OpenContext(ctx, "file:"+name+"?vfs="+d.files.name)
	if err != nil {
		if !f.opened {
			d.files.forget(name)
		}
		return nil, fmt.Errorf("opening a connection: %w", err)
	}
	err = c.BusyHandler(f.busy)
	if err == nil {
		// Triggers, views and constraints are written by the lab alone: their functions are trusted.
		err = c.Exec(`PRAGMA page_size = 8192; PRAGMA temp_store = memory; PRAGMA foreign_keys = on; PRAGMA trusted_schema = on; PRAGMA cache_size = -2048`)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("setting up a connection: %w", err), c.Close())
	}
	return c, nil
}

// forget takes back a file that SQLite did not open.
func (s *fileSet) forget(name string) {
	s.mu.Lock()
	delete(s.expected, name)
	s.mu.Unlock()
	s.gone()
}

// format writes the first page.
func (d *DB) format(ctx context.Context) error {
	c, err := d.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(c.Exec(fmt.Sprintf("PRAGMA application_id = %d", applicationID)), c.Close())
}
