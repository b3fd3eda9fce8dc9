package tsql

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ncruces/go-sqlite3"
)

// firstScratchID is where the IDs of the session's own tables begin; they go down.
const firstScratchID int32 = -1_000_000_000

// newObjectID gives a new object, or a constraint, its ID.
func (s *Session) newObjectID() int32 {
	if s.scratching {
		s.lastScratch--
		return firstScratchID + s.lastScratch
	}
	if s.nextObject < s.definitions.next {
		s.nextObject = s.definitions.next
	}
	s.nextObject = nextID(s.nextObject)
	return s.nextObject
}

// putObject stores an object, new or changed.
func (s *Session) putObject(o *object) error {
	now := s.options.Now().UTC()
	o.Created, o.Modified = now, now
	if old, ok := s.definitions.objects[o.ID]; ok {
		o.Created = old.Created
	}
	return s.put(kindObject, int64(o.ID), o)
}

// put stores a row of the catalog, within the write transaction that is open.
func (s *Session) put(kind string, id int64, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("write the catalog: %w", err)
	}
	if err := s.conn.Exec(catalogTable + ";" + fmt.Sprintf(identityTable, "main")); err != nil {
		return s.fromEngine(err)
	}
	if err := s.putRow(kind, id, string(text)); err != nil {
		return err
	}
	return s.changed()
}

// remove takes a row out of the catalog.
func (s *Session) remove(kind string, id int64) error {
	err := s.conn.Exec(fmt.Sprintf("DELETE FROM main.ck_catalog WHERE kind = %s AND id = %d", sqlite3.Quote(kind), id))
	if err != nil {
		return s.fromEngine(fmt.Errorf("write the catalog: %w", err))
	}
	return s.changed()
}

func (s *Session) putRow(kind string, id int64, body string) error {
	stmt, _, err := s.conn.Prepare("INSERT INTO main.ck_catalog (kind, id, body) VALUES (?1, ?2, ?3) ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body")
	if err != nil {
		return s.fromEngine(err)
	}
	err = errors.Join(stmt.BindText(1, kind), stmt.BindInt64(2, id), stmt.BindText(3, body))
	if err == nil {
		err = stmt.Exec()
	}
	if err = errors.Join(err, stmt.Close()); err != nil {
		return s.fromEngine(fmt.Errorf("write the catalog: %w", err))
	}
	return nil
}

// changed gives the catalog a new version, and reads it again.
func (s *Session) changed() error {
	var word [12]byte
	if _, err := io.ReadFull(s.options.Random, word[:]); err != nil {
		return fmt.Errorf("draw the catalog's version: %w", err)
	}
	if err := s.putRow(kindVersion, 0, hex.EncodeToString(word[:])); err != nil {
		return err
	}
	if s.nextObject > s.definitions.next {
		if err := s.conn.Exec("DELETE FROM main.ck_catalog WHERE kind = 'next'"); err != nil {
			return s.fromEngine(err)
		}
		if err := s.putRow(kindNext, int64(s.nextObject), ""); err != nil {
			return err
		}
	}
	d, err := loadDefinitions(s.conn)
	if err != nil {
		return s.fromEngine(err)
	}
	s.definitions = d
	return nil
}
