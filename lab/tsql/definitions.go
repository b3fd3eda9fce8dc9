package tsql

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// catalogTable is the reserved table in which a database keeps its catalog, as
// JSON in rows of (kind, id). User tables are named t<object id>, so none can have
// this name. Row ("version", 0) holds a random word that changes with every change.
const catalogTable = `CREATE TABLE IF NOT EXISTS main.ck_catalog (kind TEXT NOT NULL, id INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID`

// identityTable keeps the last value of each identity column, in main and in
// temp.
const identityTable = `CREATE TABLE IF NOT EXISTS %s.ck_identity (object_id INTEGER PRIMARY KEY, last INTEGER NOT NULL)`

// The kinds of rows in the catalog table.
const (
	kindVersion   = "version"
	kindNext      = "next"
	kindObject    = "object"
	kindSchema    = "schema"
	kindPrincipal = "principal"
	kindMember    = "member"
	kindGrant     = "grant"
)

// definitions are what a database's catalog holds at one version. They are
// never changed once they are loaded: a change is stored and loaded again.
type definitions struct {
	version    string
	next       int32
	objects    map[int32]*object
	names      map[string]*object // by lower-case schema and name with a dot between
	schemas    map[int32]*schema
	principals map[int32]*principal
	members    []membership
	grants     []grant
}

// object is a table, a view or a procedure; one of the three is set.
type object struct {
	ID        int32              `json:"id"`
	Created   time.Time          `json:"created"`
	Modified  time.Time          `json:"modified"`
	Table     *catalog.Table     `json:"table,omitempty"`
	View      *catalog.View      `json:"view,omitempty"`
	Procedure *catalog.Procedure `json:"procedure,omitempty"`
	// DoubleQuoted says that a procedure was made with QUOTED_IDENTIFIER OFF,
	// which stays with it.
	DoubleQuoted bool `json:"double_quoted,omitempty"`
}

// schema is a schema.
type schema struct {
	ID    int32  `json:"id"`
	Name  string `json:"name"`
	Owner int32  `json:"owner"` // principal_id
}

func (o *object) qualified() (schema, name string) {
	switch {
	case o.Table != nil:
		return o.Table.Schema, o.Table.Name
	case o.View != nil:
		return o.View.Schema, o.View.Name
	default:
		return o.Procedure.Schema, o.Procedure.Name
	}
}

// kind is the object's type in sys.objects, with its description.
func (o *object) kind() (letters, description string) {
	switch {
	case o.Table != nil:
		return "U ", "USER_TABLE"
	case o.View != nil:
		return "V ", "VIEW"
	default:
		return "P ", "SQL_STORED_PROCEDURE"
	}
}

// definition is the text that made a view or a procedure.
func (o *object) definition() string {
	switch {
	case o.View != nil:
		return o.View.Definition
	case o.Procedure != nil:
		return o.Procedure.Definition
	default:
		return ""
	}
}

// newDefinitions are those of an empty database.
func newDefinitions() *definitions {
	d := &definitions{
		next:       firstObjectID,
		objects:    map[int32]*object{},
		names:      map[string]*object{},
		schemas:    map[int32]*schema{},
		principals: map[int32]*principal{},
	}
	for _, p := range fixedPrincipals() {
		d.principals[p.ID] = &p
	}
	for _, s := range fixedSchemas() {
		d.schemas[s.ID] = &s
	}
	return d
}

// firstObjectID is where user objects begin, and objectIDStep how far apart
// they lie.
const (
	firstObjectID int32 = 901578250
	objectIDStep  int32 = 16
	maxObjectID   int32 = 2147483000
)

// nextID answers the ID after id.
func nextID(id int32) int32 {
	if id >= maxObjectID {
		return objectIDStep * 64
	}
	return id + objectIDStep
}

func fixedSchemas() []schema {
	all := []schema{{1, "dbo", 1}, {2, "guest", 2}, {3, "INFORMATION_SCHEMA", 3}, {4, "sys", 4}}
	for _, p := range fixedPrincipals() {
		if p.Fixed && p.ID >= firstFixedRole {
			all = append(all, schema{p.ID, p.Name, p.ID})
		}
	}
	return all
}

// find answers the object of a name.
func (d *definitions) find(schema, name string) (*object, bool) {
	o, ok := d.names[lower(schema)+"."+lower(name)]
	return o, ok
}

// schemaNamed answers the schema of a name.
func (d *definitions) schemaNamed(name string) (*schema, bool) {
	for _, s := range d.schemas {
		if lower(s.Name) == lower(name) {
			return s, true
		}
	}
	return nil, false
}

// sorted are the objects by ID.
func (d *definitions) sorted() []*object {
	return slices.SortedFunc(maps.Values(d.objects), func(a, b *object) int { return int(a.ID) - int(b.ID) })
}

// Catalogs shares the catalog of one database between its sessions. The zero
// value is ready for use, by any number of goroutines.
type Catalogs struct {
	mu     sync.Mutex
	newest *definitions
}

func (c *Catalogs) get(version string) *definitions {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest != nil && c.newest.version == version {
		return c.newest
	}
	return nil
}

func (c *Catalogs) put(d *definitions) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest = d
}

// loadDefinitions reads the catalog within the connection's transaction.
func loadDefinitions(conn *sqlite3.Conn) (*definitions, error) {
	d := newDefinitions()
	stmt, _, err := conn.Prepare(`SELECT kind, id, body FROM main.ck_catalog`)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	defer func() { _ = stmt.Close() }() // nothing is lost: the rows were read
	for stmt.Step() {
		if err := d.add(stmt.ColumnText(0), stmt.ColumnInt64(1), stmt.ColumnText(2)); err != nil {
			return nil, err
		}
	}
	if err := stmt.Err(); err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return d, nil
}

func (d *definitions) add(kind string, id int64, body string) error {
	var err error
	switch kind {
	case kindVersion:
		d.version = body
	case kindNext:
		d.next = int32(id)
	case kindObject:
		o := &object{}
		if err = json.Unmarshal([]byte(body), o); err == nil {
			schema, name := o.qualified()
			d.objects[o.ID] = o
			d.names[lower(schema)+"."+lower(name)] = o
		}
	case kindSchema:
		s := &schema{}
		err = json.Unmarshal([]byte(body), s)
		d.schemas[s.ID] = s
	case kindPrincipal:
		p := &principal{}
		err = json.Unmarshal([]byte(body), p)
		d.principals[p.ID] = p
	case kindMember:
		var m membership
		err = json.Unmarshal([]byte(body), &m)
		d.members = append(d.members, m)
	case kindGrant:
		var g grant
		err = json.Unmarshal([]byte(body), &g)
		d.grants = append(d.grants, g)
	default:
		err = fmt.Errorf("a row of unknown kind %q", kind)
	}
	if err != nil {
		return fmt.Errorf("read the catalog: %w", err)
	}
	return nil
}
