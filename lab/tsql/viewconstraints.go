package tsql

import (
	"strconv"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
)

// constraint is a constraint of a table, as sys.objects tells it.
type constraint struct {
	name        string
	id          int32
	kind        string // PK, UQ, C, D, F
	description string
	schema      string
	table       *object
	key         *catalog.Key
	check       *catalog.Check
	foreign     *catalog.ForeignKey
	column      *catalog.Column // of a default
}

// constraints are those of the tables that the session may see.
func (s *Session) constraints() []constraint {
	var all []constraint
	for _, o := range s.visibleObjects() {
		if o.Table != nil {
			all = append(all, constraintsOf(o)...)
		}
	}
	return all
}

func constraintsOf(o *object) []constraint {
	var all []constraint
	t := o.Table
	add := func(c constraint) {
		c.schema, c.table = t.Schema, o
		all = append(all, c)
	}
	for i := range t.Keys {
		k := &t.Keys[i]
		c := constraint{name: k.Name, id: k.ObjectID, kind: "UQ", description: "UNIQUE_CONSTRAINT", key: k}
		if k.Primary {
			c.kind, c.description = "PK", "PRIMARY_KEY_CONSTRAINT"
		}
		add(c)
	}
	for i := range t.Checks {
		add(constraint{name: t.Checks[i].Name, id: t.Checks[i].ObjectID, kind: "C ", description: "CHECK_CONSTRAINT", check: &t.Checks[i]})
	}
	for i := range t.ForeignKeys {
		add(constraint{name: t.ForeignKeys[i].Name, id: t.ForeignKeys[i].ObjectID, kind: "F ", description: "FOREIGN_KEY_CONSTRAINT", foreign: &t.ForeignKeys[i]})
	}
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Default != "" {
			add(constraint{name: c.DefaultAs, id: derivedID(t.ObjectID, "default"+c.Name), kind: "D ", description: "DEFAULT_CONSTRAINT", column: c})
		}
	}
	return all
}

func (s *Session) constraintRow(c constraint) []any {
	return []any{c.name, int64(c.id), nil, s.schemaIDOf(c.schema), int64(c.table.ID), c.kind, c.description, c.table.Created, c.table.Modified, false, false, false}
}

// constraintViews are the views of constraints.
func constraintViews() []*systemView {
	return []*systemView{
		view("sys", "key_constraints", append(objectColumns(), column("unique_index_id", intType), column("is_system_named", bitType), column("is_enforced", bitType)), keyRows),
		view("sys", "check_constraints", append(append(objectColumns(), flags("is_disabled", "is_not_for_replication", "is_not_trusted")...),
			column("parent_column_id", intType), column("definition", maxTextType), column("uses_database_collation", bitType), column("is_system_named", bitType)), checkRows),
		view("sys", "default_constraints", append(objectColumns(), column("parent_column_id", intType), column("definition", maxTextType), column("is_system_named", bitType)), defaultRows),
		view("sys", "foreign_keys", append(append(objectColumns(), column("referenced_object_id", intType), column("key_index_id", intType)),
			append(flags("is_disabled", "is_not_for_replication", "is_not_trusted"), column("delete_referential_action", tinyType), column("delete_referential_action_desc", nvarchar(60)),
				column("update_referential_action", tinyType), column("update_referential_action_desc", nvarchar(60)), column("is_system_named", bitType))...), foreignRows),
		view("sys", "foreign_key_columns", []sqltype.Column{
			column("constraint_object_id", intType), column("constraint_column_id", intType), column("parent_object_id", intType), column("parent_column_id", intType),
			column("referenced_object_id", intType), column("referenced_column_id", intType),
		}, foreignColumnRows),
	}
}

// systemNamed says whether the system gave a constraint its name: such names end in a number.
func systemNamed(name string) bool { return strings.Contains(name, "__") }

func keyRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, c := range s.constraints() {
		if c.key == nil {
			continue
		}
		for _, i := range indexesOf(c.table.Table) {
			if i.key == c.key {
				rows = append(rows, append(s.constraintRow(c), int64(i.id), systemNamed(c.name), true))
			}
		}
	}
	return rows, nil
}

func checkRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, c := range s.constraints() {
		if c.check != nil {
			rows = append(rows, append(s.constraintRow(c), false, false, false, int64(0), "("+c.check.Text+")", true, systemNamed(c.name)))
		}
	}
	return rows, nil
}

func defaultRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, c := range s.constraints() {
		if c.column != nil {
			rows = append(rows, append(s.constraintRow(c), int64(c.column.ID), shownDefault(c.column), systemNamed(c.name)))
		}
	}
	return rows, nil
}

// referenced is the table that a foreign key references.
func (s *Session) referenced(f *catalog.ForeignKey) (*object, bool) {
	o, ok := s.definitions.find(f.RefSchema, f.RefTable)
	return o, ok && o.Table != nil
}

// actionCode is a referential action's number with its name.
func actionCode(action string) (code int64, name string) {
	switch action {
	case "CASCADE":
		return 1, action
	case "SET_NULL":
		return 2, action
	case "SET_DEFAULT":
		return 3, action
	default:
		return 0, "NO_ACTION"
	}
}

func foreignRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, c := range s.constraints() {
		if c.foreign == nil {
			continue
		}
		var ref, key any
		if o, ok := s.referenced(c.foreign); ok {
			ref = int64(o.ID)
			if i, ok := referencedIndex(o.Table, c.foreign); ok {
				key = int64(i.id)
			}
		}
		del, delName := actionCode(c.foreign.OnDelete)
		upd, updName := actionCode(c.foreign.OnUpdate)
		rows = append(rows, append(s.constraintRow(c), ref, key, false, false, false, del, delName, upd, updName, systemNamed(c.name)))
	}
	return rows, nil
}

// referencedIndex is the unique index over the columns that a foreign key references.
func referencedIndex(t *catalog.Table, f *catalog.ForeignKey) (index, bool) {
	for _, i := range indexesOf(t) {
		if !i.unique || len(i.columns) != len(f.RefCols) {
			continue
		}
		same := true
		for _, name := range f.RefCols {
			same = same && hasKeyColumn(i.columns, name)
		}
		if same {
			return i, true
		}
	}
	return index{}, false
}

func hasKeyColumn(columns []catalog.KeyColumn, name string) bool {
	for _, c := range columns {
		if lower(c.Name) == lower(name) {
			return true
		}
	}
	return false
}

func foreignColumnRows(s *Session) ([][]any, error) {
	var rows [][]any
	for _, c := range s.constraints() {
		if c.foreign == nil {
			continue
		}
		o, ok := s.referenced(c.foreign)
		if !ok {
			continue
		}
		for i, name := range c.foreign.Columns {
			var ref int64
			if i < len(c.foreign.RefCols) {
				ref = columnIDOf(o.Table, c.foreign.RefCols[i])
			}
			rows = append(rows, []any{int64(c.id), int64(i + 1), int64(c.table.ID), columnIDOf(c.table.Table, name), int64(o.ID), ref})
		}
	}
	return rows, nil
}

// shownDefault is a default as the catalog shows it: in brackets, a number in
// two pairs of them.
func shownDefault(c *catalog.Column) string {
	text := "(" + c.Default + ")"
	if _, err := strconv.ParseFloat(strings.TrimSpace(c.Default), 64); err == nil {
		text = "(" + text + ")"
	}
	return text
}
