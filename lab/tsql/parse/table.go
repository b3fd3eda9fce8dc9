package parse

import (
	"strconv"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// tableUse says where a list of table elements stands, which bounds what may be in it.
type tableUse uint8

const (
	tableOfCreate tableUse = iota + 1
	tableOfVariable
	tableOfAlter
)

func (p *parser) createTable(pos ast.Pos) ast.Statement {
	p.expect("TABLE")
	s := &ast.CreateTable{Name: p.name()}
	if p.is("AS") {
		p.noOption("CREATE TABLE AS " + p.look(1).upper)
	}
	s.TableElements = p.tableElements(tableOfCreate)
	p.fileGroup()
	if p.is("AS", "NODE") || p.is("AS", "EDGE") {
		p.noOption("AS " + p.look(1).upper)
	}
	if p.isAny("TEXTIMAGE_ON", "FILESTREAM_ON") {
		p.noOption(p.tok().upper)
	}
	if p.is("WITH") && p.look(1).isSymbol("(") {
		p.at += 2
		s.Options = p.settings()
		p.expectSymbol(")")
		p.knownOptions(s.Options, "DATA_COMPRESSION XML_COMPRESSION")
	}
	s.Span = p.span(pos)
	return s
}

// knownOptions refuses the options that are not among known.
func (p *parser) knownOptions(options []ast.Option, known string) {
	set := wordSet(known)
	for _, o := range options {
		if !set[o.Name] {
			p.noOption(o.Name)
		}
	}
}

// fileGroup takes ON PRIMARY, the one file group that there is.
func (p *parser) fileGroup() {
	if !p.is("ON") {
		return
	}
	t := p.look(1)
	switch {
	case t.is("PRIMARY") || t.kind == tokenQuoted && (t.text == "PRIMARY" || t.text == "primary" || t.text == "default"):
		p.at += 2
	case t.isName():
		p.noOption("ON " + t.text)
	}
}

// tableElements parses ( column, constraint, index … ); a comma may end it in
// CREATE TABLE.
func (p *parser) tableElements(use tableUse) ast.TableElements {
	var e ast.TableElements
	p.expectSymbol("(")
	for {
		p.tableElement(&e, use)
		if !p.acceptSymbol(",") || use == tableOfCreate && p.isSymbol(")") {
			break
		}
	}
	p.expectSymbol(")")
	return e
}

func (p *parser) tableElement(e *ast.TableElements, use tableUse) {
	switch t := p.tok(); {
	case p.isAny("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK") || use == tableOfAlter && p.is("DEFAULT"):
		if use == tableOfVariable && p.isAny("CONSTRAINT", "FOREIGN") {
			p.fail()
		}
		e.Constraints = append(e.Constraints, p.tableConstraint(use))
	case p.is("INDEX"):
		e.Indexes = append(e.Indexes, p.inlineIndex(nil))
	case p.is("PERIOD", "FOR"):
		p.noOption("PERIOD FOR")
	case t.isName():
		e.Columns = append(e.Columns, p.column(use))
	default:
		p.fail()
	}
}

// column parses a column's definition.
func (p *parser) column(use tableUse) *ast.ColumnDefinition {
	c := &ast.ColumnDefinition{Pos: p.pos(), Name: p.ident().Name}
	switch {
	case p.accept("AS"):
		text := p.pos()
		c.Computed = p.value()
		c.ComputedText = p.since(text)
		c.Persisted = p.accept("PERSISTED")
	case p.is("XML") && p.look(1).is("COLUMN_SET"):
		p.noOption("COLUMN_SET")
	case !p.tok().isName() && !p.is("NATIONAL") && !p.is("DOUBLE") && (p.tokens[p.at-1].upper == "TIMESTAMP" || p.tokens[p.at-1].upper == "ROWVERSION"):
		// TIMESTAMP alone is a column of that name and type.
		p.at--
		t := p.dataType(1)
		c.Type = &t
	case p.isSymbol(",") || p.isSymbol(")"):
		p.raise(nearMessage(173, c.Line, "The definition for column '%s' must include a data type.", c.Name))
	default:
		t := p.dataType(1)
		c.Type = &t
	}
	for p.columnClause(c, use) {
	}
	return c
}

// refusedColumnClauses are what a column may have in SQL Server and not here.
var refusedColumnClauses = wordSet("SPARSE FILESTREAM MASKED ENCRYPTED GENERATED HIDDEN")

// columnClause parses one clause of a column; false when none is left.
func (p *parser) columnClause(c *ast.ColumnDefinition, use tableUse) bool {
	name := ""
	pos := p.pos()
	if p.is("CONSTRAINT") {
		if use == tableOfVariable {
			p.fail()
		}
		p.at++
		name = p.ident().Name
		if !p.isAny("DEFAULT", "PRIMARY", "UNIQUE", "CHECK", "REFERENCES", "FOREIGN", "NULL", "NOT") {
			p.fail()
		}
	}
	switch t := p.tok(); {
	case p.accept("NOT"):
		if p.is("ENFORCED") {
			p.noOption("NOT ENFORCED")
		}
		if p.accept("FOR") {
			p.expect("REPLICATION")
			return true
		}
		p.expect("NULL")
		p.setNullability(c, ast.NotNull)
	case p.accept("NULL"):
		p.setNullability(c, ast.Nullable)
	case p.is("COLLATE") && c.Collation == "":
		p.at++
		c.Collation = p.ident().Name
	case p.is("IDENTITY") && c.Identity == nil && c.Computed == nil:
		c.Identity = p.identity()
	case p.accept("ROWGUIDCOL"):
		c.RowGUIDCol = true
	case p.is("DEFAULT") && c.Default == nil && c.Computed == nil:
		c.Default = p.defaultConstraint(pos, name)
		if use == tableOfAlter && p.accept("WITH", "VALUES") {
			c.WithValues = true
		}
	case p.isAny("PRIMARY", "UNIQUE", "CHECK", "REFERENCES", "FOREIGN"):
		c.Constraints = append(c.Constraints, p.columnConstraint(c, pos, name, use))
	case p.is("INDEX") && c.Index == nil:
		c.Index = p.inlineIndex(c)
	case t.kind == tokenWord && refusedColumnClauses[t.upper]:
		p.noOption(t.upper)
	default:
		return false
	}
	return true
}

func (p *parser) setNullability(c *ast.ColumnDefinition, n ast.Nullability) {
	if c.Null != ast.NullabilityDefault {
		p.at--
		p.fail()
	}
	c.Null = n
}

func (p *parser) identity() *ast.Identity {
	i := &ast.Identity{Pos: p.pos(), Seed: 1, Increment: 1}
	p.expect("IDENTITY")
	if !p.acceptSymbol("(") {
		return i
	}
	i.Seed = p.signed64()
	p.expectSymbol(",")
	i.Increment = p.signed64()
	p.expectSymbol(")")
	return i
}

// signed64 takes a whole number with perhaps a sign.
func (p *parser) signed64() int64 {
	sign := ""
	if p.acceptSymbol("-") {
		sign = "-"
	} else {
		p.acceptSymbol("+")
	}
	if p.tok().kind != tokenInteger {
		p.fail()
	}
	n, err := strconv.ParseInt(sign+p.tok().text, 10, 64)
	if err != nil {
		p.fail()
	}
	p.at++
	return n
}

func (p *parser) defaultConstraint(pos ast.Pos, name string) *ast.Constraint {
	p.expect("DEFAULT")
	k := &ast.Constraint{Pos: pos, Name: name, Kind: ast.Default}
	text := p.pos()
	k.Default = p.value()
	k.Text = p.since(text)
	return k
}

// columnConstraint parses a key, check or reference of one column.
func (p *parser) columnConstraint(c *ast.ColumnDefinition, pos ast.Pos, name string, use tableUse) *ast.Constraint {
	k := &ast.Constraint{Pos: pos, Name: name}
	self := []ast.KeyColumn{{Pos: c.Pos, Name: c.Name}}
	switch {
	case p.is("CHECK"):
		p.check(k)
	case p.isAny("REFERENCES", "FOREIGN"):
		if use == tableOfVariable {
			p.fail()
		}
		if p.accept("FOREIGN") {
			p.expect("KEY")
		}
		k.Columns = self
		p.references(k)
	default:
		p.key(k)
		if k.Columns = self; p.isSymbol("(") {
			k.Columns = p.keyColumns()
		}
		p.indexOptions(&k.Options)
	}
	return k
}

// key takes PRIMARY KEY or UNIQUE with its storage.
func (p *parser) key(k *ast.Constraint) {
	k.Kind = ast.Unique
	if p.accept("PRIMARY") {
		p.expect("KEY")
		k.Kind = ast.PrimaryKey
	} else {
		p.expect("UNIQUE")
	}
	k.Clustering = p.clustering()
}

func (p *parser) clustering() ast.Clustering {
	c := ast.ClusteringDefault
	switch {
	case p.accept("CLUSTERED"):
		c = ast.Clustered
	case p.accept("NONCLUSTERED"):
		c = ast.Nonclustered
		if p.is("HASH") {
			p.noOption("HASH")
		}
	}
	if p.is("COLUMNSTORE") {
		p.noOption("COLUMNSTORE")
	}
	return c
}

func (p *parser) check(k *ast.Constraint) {
	p.expect("CHECK")
	k.Kind = ast.Check
	if p.accept("NOT") {
		p.expect("FOR", "REPLICATION")
	}
	text := p.pos()
	p.expectSymbol("(")
	k.Check = p.predicate()
	p.expectSymbol(")")
	k.Text = p.since(text)
}

func (p *parser) references(k *ast.Constraint) {
	k.Kind = ast.ForeignKey
	p.expect("REFERENCES")
	n := p.name()
	k.References = &n
	k.RefColumns = p.optionalIdents()
	for {
		switch {
		case p.is("ON", "DELETE") && k.OnDelete == "":
			p.at += 2
			k.OnDelete = p.referentialAction()
		case p.is("ON", "UPDATE") && k.OnUpdate == "":
			p.at += 2
			k.OnUpdate = p.referentialAction()
		case p.is("NOT", "FOR", "REPLICATION"):
			p.at += 3
		default:
			return
		}
	}
}

func (p *parser) referentialAction() string {
	switch {
	case p.accept("NO"):
		p.expectAny("ACTION")
		return "NO ACTION"
	case p.accept("CASCADE"):
		return "CASCADE"
	}
	p.expect("SET")
	return "SET " + p.expectAny("NULL", "DEFAULT")
}

// tableConstraint parses a constraint of a table.
func (p *parser) tableConstraint(use tableUse) *ast.Constraint {
	k := &ast.Constraint{Pos: p.pos()}
	if p.accept("CONSTRAINT") {
		k.Name = p.ident().Name
	}
	switch {
	case p.is("CHECK"):
		p.check(k)
	case p.accept("FOREIGN"):
		p.expect("KEY")
		for _, c := range p.idents() {
			k.Columns = append(k.Columns, ast.KeyColumn{Pos: c.Pos, Name: c.Name})
		}
		p.references(k)
	case use == tableOfAlter && p.is("DEFAULT"):
		pos, name := k.Pos, k.Name
		k = p.defaultConstraint(pos, name)
		p.expect("FOR")
		k.For = p.ident().Name
		k.WithValues = p.accept("WITH", "VALUES")
	default:
		p.key(k)
		k.Columns = p.keyColumns()
		p.indexOptions(&k.Options)
	}
	return k
}

// keyColumns parses ( column [ASC|DESC], … ).
func (p *parser) keyColumns() []ast.KeyColumn {
	var list []ast.KeyColumn
	p.brackets(func() {
		c := ast.KeyColumn{Pos: p.pos(), Name: p.ident().Name}
		if c.Descending = p.accept("DESC"); !c.Descending {
			p.accept("ASC")
		}
		list = append(list, c)
	})
	return list
}
