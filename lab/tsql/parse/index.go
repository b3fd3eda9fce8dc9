package parse

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// indexSettings are the options of an index. They change how it is stored or
// built, which is the engine's own here; IGNORE_DUP_KEY = ON changes results.
// Source: https://learn.microsoft.com/sql/t-sql/statements/create-index-transact-sql
const indexSettings = `PAD_INDEX FILLFACTOR SORT_IN_TEMPDB IGNORE_DUP_KEY STATISTICS_NORECOMPUTE STATISTICS_INCREMENTAL DROP_EXISTING ONLINE
RESUMABLE MAX_DURATION ALLOW_ROW_LOCKS ALLOW_PAGE_LOCKS OPTIMIZE_FOR_SEQUENTIAL_KEY MAXDOP DATA_COMPRESSION XML_COMPRESSION`

// indexOptions parses WITH (…) and ON PRIMARY after an index or a key.
func (p *parser) indexOptions(options *[]ast.Option) {
	if p.is("WITH") && p.look(1).is("FILLFACTOR") {
		p.at++
		*options = append(*options, p.setting())
	} else if p.is("WITH") && p.look(1).isSymbol("(") {
		p.at += 2
		*options = p.settings()
		p.expectSymbol(")")
		p.knownOptions(*options, indexSettings)
	}
	for _, o := range *options {
		if o.Name == "IGNORE_DUP_KEY" && o.Word == "ON" {
			p.noOption("IGNORE_DUP_KEY")
		}
	}
	p.fileGroup()
}

// inlineIndex parses INDEX name … of a table's definition; of is its column,
// or nil.
func (p *parser) inlineIndex(of *ast.ColumnDefinition) *ast.IndexDefinition {
	p.expect("INDEX")
	d := &ast.IndexDefinition{Pos: p.pos(), Name: p.ident().Name, Unique: p.accept("UNIQUE")}
	d.Clustering = p.clustering()
	if of != nil && !p.isSymbol("(") {
		d.Columns = []ast.KeyColumn{{Pos: of.Pos, Name: of.Name}}
	} else {
		d.Columns = p.keyColumns()
	}
	p.indexRest(d)
	return d
}

// indexRest parses INCLUDE, WHERE and the options of an index.
func (p *parser) indexRest(d *ast.IndexDefinition) {
	if p.is("INCLUDE") && p.look(1).isSymbol("(") {
		p.at++
		d.Include = p.idents()
	}
	if p.accept("WHERE") {
		text := p.pos()
		d.Where = p.predicate()
		d.WhereText = p.since(text)
	}
	p.indexOptions(&d.Options)
}

func (p *parser) createIndex(pos ast.Pos) ast.Statement {
	s := &ast.CreateIndex{}
	d := &s.IndexDefinition
	d.Pos = pos
	d.Unique = p.accept("UNIQUE")
	d.Clustering = p.clustering()
	p.expect("INDEX")
	d.Name = p.ident().Name
	p.expect("ON")
	s.Table = p.name()
	d.Columns = p.keyColumns()
	p.indexRest(d)
	s.Span = p.span(pos)
	return s
}

func (p *parser) dropIndex(pos ast.Pos) ast.Statement {
	p.expect("INDEX")
	s := &ast.DropIndex{IfExists: p.accept("IF", "EXISTS")}
	p.list(func() {
		parts := p.parts(4)
		item := ast.IndexName{Pos: parts[0].Pos, Index: parts[len(parts)-1].Name}
		switch {
		case len(parts) > 1:
			item.Table = nameOf(parts[:len(parts)-1])
		default:
			p.expect("ON")
			item.Table = p.name()
		}
		s.Items = append(s.Items, item)
	})
	if p.is("WITH") && p.look(1).isSymbol("(") {
		p.at += 2
		p.knownOptions(p.settings(), "MAXDOP ONLINE")
		p.expectSymbol(")")
	}
	s.Span = p.span(pos)
	return s
}
