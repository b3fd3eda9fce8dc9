package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/catalog"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// addElements enters columns, constraints and indexes in a table.
func (c *compiler) addElements(t *catalog.Table, e *ast.TableElements) error {
	if err := constraintsDiffer(t, e); err != nil {
		return err
	}
	primary := map[string]bool{}
	for _, k := range e.Constraints {
		if k.Kind == ast.PrimaryKey {
			for _, col := range k.Columns {
				primary[strings.ToLower(col.Name)] = true
			}
		}
	}
	for _, d := range e.Columns {
		if err := c.addColumn(t, d, primary[strings.ToLower(d.Name)]); err != nil {
			return located(err, d.Pos)
		}
	}
	for _, d := range e.Columns {
		if err := c.addComputed(t, d); err != nil {
			return located(err, d.Pos)
		}
	}
	for _, d := range e.Columns {
		for _, k := range d.Constraints {
			if err := c.addConstraint(t, k); err != nil {
				return located(err, k.Pos)
			}
		}
		if d.Index != nil {
			if _, err := c.index(t, d.Index); err != nil {
				return err
			}
		}
	}
	for _, k := range e.Constraints {
		if err := c.addConstraint(t, k); err != nil {
			return located(err, k.Pos)
		}
	}
	for _, ix := range e.Indexes {
		if _, err := c.index(t, ix); err != nil {
			return err
		}
	}
	return nil
}

// constraintsDiffer sees that no two constraints of a definition have one name,
// and that it has one primary key.
func constraintsDiffer(t *catalog.Table, e *ast.TableElements) error {
	all := append([]*ast.Constraint{}, e.Constraints...)
	for _, d := range e.Columns {
		all = append(all, d.Constraints...)
		if d.Default != nil {
			all = append(all, d.Default)
		}
	}
	names, primary := map[string]bool{}, false
	for _, k := range all {
		if k.Name != "" && names[strings.ToLower(k.Name)] {
			return message(k.Pos, 2714, "There is already an object named '%s' in the database.", k.Name)
		}
		names[strings.ToLower(k.Name)] = true
		if k.Kind == ast.PrimaryKey && primary {
			return message(k.Pos, 8110, "Cannot add multiple PRIMARY KEY constraints to table '%s'.", t.Name)
		}
		primary = primary || k.Kind == ast.PrimaryKey
	}
	return nil
}

func (c *compiler) addColumn(t *catalog.Table, d *ast.ColumnDefinition, primary bool) error {
	for _, col := range t.Columns {
		if sameName(col.Name, d.Name) {
			return message(d.Pos, 2705, "Column names in each table must be unique. Column name '%s' in table '%s' is specified more than once.", d.Name, t.Name)
		}
		if d.Identity != nil && col.Identity {
			return message(d.Pos, 2744, "Multiple identity columns specified for table '%s'. Only one identity column per table is allowed.", t.Name)
		}
	}
	col := catalog.Column{ID: 1}
	for _, other := range t.Columns {
		col.ID = max(col.ID, other.ID+1)
	}
	col.Name = d.Name
	if d.Computed != nil {
		col.Computed, col.Nullable, col.ReadOnly = d.ComputedText, true, true
		t.Columns = append(t.Columns, col)
		return nil
	}
	typ, err := dataType(*d.Type)
	if err != nil {
		return message(d.Pos, 2715, "Column, parameter, or variable #%d: Cannot find data type %s.", len(t.Columns)+1, d.Type.Name.Object)
	}
	if d.Type.RowVersion {
		return refuse(d.Pos, "rowversion")
	}
	if d.Collation != "" {
		if coll, ok := value.CollationOf(d.Collation); !ok || coll != value.Collation {
			return refuse(d.Pos, "COLLATE "+d.Collation+" of a column")
		}
	}
	for _, k := range d.Constraints {
		primary = primary || k.Kind == ast.PrimaryKey
	}
	col.Type = typ
	col.Nullable = d.Null != ast.NotNull && !primary && d.Identity == nil
	if primary && d.Null == ast.Nullable {
		return message(d.Pos, 8111, "Cannot define PRIMARY KEY constraint on nullable column in table '%s'.", t.Name)
	}
	if d.Identity != nil {
		if !value.IsInteger(typ) || typ.Kind == sqltype.Bit {
			return message(d.Pos, 2749, "Identity column '%s' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a scale of 0, and constrained to be nonnullable.", d.Name)
		}
		if d.Null == ast.Nullable {
			return message(d.Pos, 8147, "Could not create IDENTITY attribute on nullable column '%s', table '%s'.", d.Name, t.Name)
		}
		col.Identity, col.Seed, col.Increment = true, d.Identity.Seed, d.Identity.Increment
	}
	t.Columns = append(t.Columns, col)
	if d.Default == nil {
		return nil
	}
	return c.setDefault(t, len(t.Columns)-1, d.Default)
}

// setDefault gives a column its default, which must convert to its type.
func (c *compiler) setDefault(t *catalog.Table, i int, k *ast.Constraint) error {
	col := &t.Columns[i]
	if col.Identity {
		return message(k.Pos, 1754, "Defaults cannot be created on columns with an IDENTITY attribute. Table '%s', column '%s'.", t.Name, col.Name)
	}
	if col.Default != "" {
		return message(k.Pos, 1781, "Column already has a DEFAULT bound to it.")
	}
	e, err := c.tableText(k.Text, nil)
	if err != nil {
		return err
	}
	if _, err := assign(k.Pos, e, col.Type); err != nil {
		return err
	}
	col.Default = k.Text
	col.DefaultAs = orElse(k.Name, fmt.Sprintf("DF__%s__%s__%08X", short(t.Name, 9), short(col.Name, 5), uint32(c.scope.NewObjectID())))
	return nil
}

func short(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// addComputed finds out a computed column's type.
func (c *compiler) addComputed(t *catalog.Table, d *ast.ColumnDefinition) error {
	if d.Computed == nil {
		return nil
	}
	i, err := columnIndex(t, d.Pos, d.Name)
	if err != nil {
		return err
	}
	row := &source{name: t.Name, use: -1}
	for n, col := range t.Columns {
		if n == i || col.Computed == "" {
			row.columns = append(row.columns, column{name: col.Name, expr: baseColumn("", col.Column), computed: col.Computed != ""})
		}
	}
	for n, col := range row.columns {
		if col.computed {
			row.columns = append(row.columns[:n:n], row.columns[n+1:]...)
			break
		}
	}
	e, err := c.tableText(d.ComputedText, row)
	if err != nil {
		var m sqltype.Message
		if ok := asMessage(err, &m); ok && m.Number == 207 {
			for _, col := range t.Columns {
				if col.Computed != "" && strings.Contains(m.Text, "'"+col.Name+"'") {
					return message(d.Pos, 1759, "Computed column '%s' in table '%s' is not allowed to be used in another computed-column definition.", col.Name, t.Name)
				}
			}
		}
		return err
	}
	if len(c.binds) > 0 || strings.Contains(e.sql, "ckv(") {
		if d.Persisted {
			return message(d.Pos, 4936, "Computed column '%s' in table '%s' cannot be persisted because the column is non-deterministic.", d.Name, t.Name)
		}
	}
	t.Columns[i].Type, t.Columns[i].Nullable = e.typ, e.nullable && d.Null != ast.NotNull
	return nil
}

func asMessage(err error, m *sqltype.Message) bool {
	got, ok := value.MessageOf(err)
	*m = got
	return ok
}

// addConstraint enters a key, a check, a reference or a default.
func (c *compiler) addConstraint(t *catalog.Table, k *ast.Constraint) error {
	switch k.Kind {
	case ast.PrimaryKey, ast.Unique:
		return c.addKey(t, k)
	case ast.Check:
		check := catalog.Check{ObjectID: c.scope.NewObjectID(), Text: k.Text}
		check.Name = orElse(k.Name, fmt.Sprintf("CK__%s__%08X", short(t.Name, 9), uint32(check.ObjectID)))
		row, err := c.rowSource(t, t.Name, func(i int) string { return quote(t.Columns[i].Name) })
		if err != nil {
			return err
		}
		if _, err := c.tableCheck(k.Text, row); err != nil {
			return err
		}
		t.Checks = append(t.Checks, check)
		return nil
	case ast.ForeignKey:
		return c.addForeignKey(t, k)
	default:
		i, err := columnIndex(t, k.Pos, k.For)
		if err != nil {
			return message(k.Pos, 1752, "Column '%s' in table '%s' is invalid for creating a default constraint.", k.For, t.Name)
		}
		return c.setDefault(t, i, k)
	}
}

func (c *compiler) addKey(t *catalog.Table, k *ast.Constraint) error {
	key := catalog.Key{ObjectID: c.scope.NewObjectID(), Primary: k.Kind == ast.PrimaryKey}
	key.Clustered = k.Clustering == ast.Clustered || key.Primary && k.Clustering == ast.ClusteringDefault
	prefix := "UQ"
	if key.Primary {
		prefix = "PK"
	}
	key.Name = orElse(k.Name, fmt.Sprintf("%s__%s__%016X", prefix, short(t.Name, 9), uint64(key.ObjectID)*0x9E3779B97F4A7C15))
	for _, other := range t.Keys {
		if other.Primary && key.Primary {
			return message(k.Pos, 1779, "Table '%s' already has a primary key defined on it.", t.Name)
		}
	}
	for _, col := range k.Columns {
		i, err := columnIndex(t, col.Pos, col.Name)
		if err != nil {
			return message(col.Pos, 1911, "Column name '%s' does not exist in the target table or view.", col.Name)
		}
		if key.Primary && t.Columns[i].Nullable {
			return message(k.Pos, 8111, "Cannot define PRIMARY KEY constraint on nullable column in table '%s'.", t.Name)
		}
		if typ := t.Columns[i].Type; (value.IsString(typ) || value.IsBinary(typ)) && typ.Length == sqltype.Max {
			return message(k.Pos, 1919, "Column '%s' in table '%s' is of a type that is invalid for use as a key column in an index.", col.Name, t.Name)
		}
		key.Columns = append(key.Columns, catalog.KeyColumn{Name: t.Columns[i].Name, Descending: col.Descending})
	}
	t.Keys = append(t.Keys, key)
	return nil
}

func (c *compiler) addForeignKey(t *catalog.Table, k *ast.Constraint) error {
	if t.Temporary {
		// Skipping FOREIGN KEY constraint: SQL Server does so too.
		return nil
	}
	fk := catalog.ForeignKey{ObjectID: c.scope.NewObjectID(), OnDelete: action(k.OnDelete), OnUpdate: action(k.OnUpdate)}
	if fk.OnUpdate != "NO_ACTION" {
		return refuse(k.Pos, "ON UPDATE "+k.OnUpdate)
	}
	fk.Name = orElse(k.Name, fmt.Sprintf("FK__%s__%s__%08X", short(t.Name, 9), short(k.Columns[0].Name, 9), uint32(fk.ObjectID)))
	parent := t
	if !sameName(k.References.Object, t.Name) || k.References.Schema != "" && !sameName(k.References.Schema, t.Schema) {
		got, ok := c.scope.Catalog.Table(k.References.Schema, k.References.Object)
		if !ok {
			return message(k.Pos, 1767, "Foreign key '%s' references invalid table '%s'.", fk.Name, multi(ast.Name{Schema: k.References.Schema}, k.References.Object))
		}
		parent = got
	}
	fk.RefSchema, fk.RefTable = parent.Schema, parent.Name
	for _, id := range k.RefColumns {
		fk.RefCols = append(fk.RefCols, id.Name)
	}
	if fk.RefCols == nil {
		for _, key := range parent.Keys {
			for _, col := range key.Columns {
				if key.Primary {
					fk.RefCols = append(fk.RefCols, col.Name)
				}
			}
		}
	}
	return c.checkForeignKey(t, parent, k, &fk)
}

// checkForeignKey sees that both sides fit and that the other side is a key.
func (c *compiler) checkForeignKey(t, parent *catalog.Table, k *ast.Constraint, fk *catalog.ForeignKey) error {
	if len(fk.RefCols) != len(k.Columns) {
		return message(k.Pos, 1773, "Foreign key '%s' has implicit reference to object '%s' which does not have a primary key defined on it.", fk.Name, objectName(parent))
	}
	for n, col := range k.Columns {
		i, err := columnIndex(t, col.Pos, col.Name)
		if err != nil {
			return message(k.Pos, 1769, "Foreign key '%s' references invalid column '%s' in referencing table '%s'.", fk.Name, col.Name, t.Name)
		}
		p, err := columnIndex(parent, col.Pos, fk.RefCols[n])
		if err != nil {
			return message(k.Pos, 1770, "Foreign key '%s' references invalid column '%s' in referenced table '%s'.", fk.Name, fk.RefCols[n], objectName(parent))
		}
		if t.Columns[i].Type.Kind != parent.Columns[p].Type.Kind {
			return message(k.Pos, 1778, "Column '%s.%s' is not the same data type as referencing column '%s.%s' in foreign key '%s'.", objectName(parent), parent.Columns[p].Name, t.Name, t.Columns[i].Name, fk.Name)
		}
		fk.Columns = append(fk.Columns, t.Columns[i].Name)
		fk.RefCols[n] = parent.Columns[p].Name
	}
	if selfReference(t, fk) && fk.OnDelete == "CASCADE" {
		return message(k.Pos, 1785, "Introducing FOREIGN KEY constraint '%s' on table '%s' may cause cycles or multiple cascade paths. Specify ON DELETE NO ACTION or ON UPDATE NO ACTION, or modify other FOREIGN KEY constraints.", fk.Name, t.Name)
	}
	list, err := uniques(parent)
	if err != nil {
		return err
	}
	for _, u := range list {
		if u.where == "" && sameColumns(parent, u.columns, fk.RefCols) {
			t.ForeignKeys = append(t.ForeignKeys, *fk)
			return nil
		}
	}
	return message(k.Pos, 1776, "There are no primary or candidate keys in the referenced table '%s' that match the referencing column list in the foreign key '%s'.", objectName(parent), fk.Name)
}

func sameColumns(t *catalog.Table, key []int, names []string) bool {
	if len(key) != len(names) {
		return false
	}
	for _, n := range key {
		found := false
		for _, name := range names {
			found = found || sameName(t.Columns[n].Name, name)
		}
		if !found {
			return false
		}
	}
	return true
}

// action is a referential action as the catalog writes it.
func action(s string) string {
	if s == "" {
		return "NO_ACTION"
	}
	return strings.ReplaceAll(s, " ", "_")
}

// copyTable is a table that may be changed without changing the other.
func copyTable(t *catalog.Table) *catalog.Table {
	out := *t
	out.Columns = append([]catalog.Column{}, t.Columns...)
	out.Keys = append([]catalog.Key{}, t.Keys...)
	out.Checks = append([]catalog.Check{}, t.Checks...)
	out.ForeignKeys = append([]catalog.ForeignKey{}, t.ForeignKeys...)
	out.Indexes = append([]catalog.Index{}, t.Indexes...)
	return &out
}
