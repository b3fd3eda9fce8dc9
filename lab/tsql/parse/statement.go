package parse

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// batch parses statements to the end of the text.
func (p *parser) batch() []ast.Statement {
	list := p.statements(true)
	p.end()
	for _, g := range p.gotos {
		if !p.labels[strings.ToUpper(g.Label)] {
			p.raise(nearMessage(133, g.Line, "A GOTO statement references the label '%s' but the label has not been declared.", g.Label))
		}
	}
	return list
}

// label takes name: and remembers it.
func (p *parser) label() ast.Statement {
	pos, t := p.pos(), p.tok()
	p.at += 2
	key := strings.ToUpper(t.text)
	if p.labels[key] {
		p.raise(nearMessage(132, t.line, "The label '%s' has already been declared. Label names must be unique within a query batch or stored procedure.", t.text))
	}
	if p.labels == nil {
		p.labels = map[string]bool{}
	}
	p.labels[key] = true
	return &ast.Label{Span: p.span(pos), Name: t.text}
}

// statements parses statements up to END, ELSE or the text's end.
func (p *parser) statements(first bool) []ast.Statement {
	defer p.enter()()
	var list []ast.Statement
	separated := true
	for {
		for p.acceptSymbol(";") {
			separated, first = true, false
		}
		t := p.tok()
		if p.is("END", "CONVERSATION") {
			p.noStatement("END CONVERSATION")
		}
		if t.kind == tokenEnd || t.is("END") || t.is("ELSE") {
			return list
		}
		// ( after a statement would be read as a query of its own.
		if !separated && (t.is("WITH") || p.isSymbol("(")) {
			p.fail()
		}
		s := p.statement(first)
		list = append(list, s)
		_, label := s.(*ast.Label)
		separated, first = label, false
	}
}

// statement parses one statement; first says whether it begins the batch.
func (p *parser) statement(first bool) ast.Statement {
	defer p.enter()()
	t, pos := p.tok(), p.pos()
	switch {
	case t.isName() && p.look(1).isSymbol(":"):
		return p.label()
	case p.isSymbol("(") && p.startsQuery(p.at):
		return p.selectStatement(pos, nil)
	case t.kind == tokenWord:
		if s := p.keywordStatement(t, pos, first); s != nil {
			return s
		}
	}
	if first && t.isName() {
		return p.implicitExecute()
	}
	p.fail()
	return nil
}

// keywordStatement parses a statement by its first word; nil when the word
// begins none.
func (p *parser) keywordStatement(t token, pos ast.Pos, first bool) ast.Statement {
	switch t.upper {
	case "WITH":
		return p.withStatement()
	case "SELECT":
		return p.selectStatement(pos, nil)
	case "INSERT":
		return p.insert(pos, nil)
	case "UPDATE":
		return p.update(pos, nil)
	case "DELETE":
		return p.delete(pos, nil)
	case "MERGE":
		return p.merge(pos, nil)
	case "TRUNCATE":
		return p.truncate()
	case "CREATE":
		return p.create(first)
	case "ALTER":
		return p.alter(first)
	case "DROP":
		return p.drop()
	case "GRANT", "DENY", "REVOKE":
		return p.permission()
	case "DECLARE":
		return p.declare()
	case "SET":
		return p.set()
	case "EXEC", "EXECUTE":
		return p.executeStatement()
	case "USE":
		p.at++
		s := &ast.Use{Database: p.ident().Name}
		s.Span = p.span(pos)
		return s
	case "KILL":
		return p.kill()
	case "OPEN", "FETCH", "CLOSE", "DEALLOCATE":
		return p.cursor()
	}
	if s := p.controlStatement(t, pos); s != nil {
		return s
	}
	p.refuseStatement(t)
	return nil
}

// withStatement parses WITH … before a query or a change.
func (p *parser) withStatement() ast.Statement {
	pos := p.pos()
	with := p.with()
	switch t := p.tok(); {
	case t.is("INSERT"):
		return p.insert(pos, with)
	case t.is("UPDATE"):
		return p.update(pos, with)
	case t.is("DELETE"):
		return p.delete(pos, with)
	case t.is("MERGE"):
		return p.merge(pos, with)
	case t.is("SELECT") || p.isSymbol("("):
		return p.selectStatement(pos, with)
	}
	p.fail()
	return nil
}

// refusedStatements begin with a word that begins nothing else, each with as
// many more words as name it.
var refusedStatements = map[string]int{
	"BACKUP": 1, "BULK": 1, "CHECKPOINT": 0, "DBCC": 1, "LINENO": 0, "READTEXT": 0, "RECONFIGURE": 0, "RESTORE": 1, "REVERT": 0,
	"SETUSER": 0, "SHUTDOWN": 0, "UPDATETEXT": 0, "WRITETEXT": 0,
}

// refusedPairs are statements that begin with two words, of which the first is
// not reserved.
var refusedPairs = map[string]string{
	"ADD": "SENSITIVITY SIGNATURE COUNTER", "DISABLE": "TRIGGER", "ENABLE": "TRIGGER", "GET": "CONVERSATION", "MOVE": "CONVERSATION",
	"SEND": "ON", "RECEIVE": "TOP",
}

// refuseStatement refuses by name a valid statement that is not run here.
func (p *parser) refuseStatement(t token) {
	if more, ok := refusedStatements[t.upper]; ok {
		name := t.upper
		if next := p.look(1); more > 0 && next.kind == tokenWord {
			name += " " + next.upper
		}
		p.noStatement(name)
	}
	next := p.look(1)
	for w := range wordSet(refusedPairs[t.upper]) {
		if next.is(w) {
			p.noStatement(t.upper + " " + w)
		}
	}
}

// refuseObject refuses CREATE, ALTER or DROP of what is no known object, by
// its name when SQL Server knows it. verb has been taken.
func (p *parser) refuseObject(verb string) {
	t := p.tok()
	if t.kind != tokenWord {
		p.fail()
	}
	name, ok := refusedObjects[t.upper]
	if !ok {
		if t.reserved {
			p.fail()
		}
		m := nearMessage(343, t.line, "Unknown object type '%s' used in a CREATE, DROP, or ALTER statement.", t.text)
		p.raise(m)
	}
	if next := p.look(1); name != "" && next.kind == tokenWord && wordSet(name)[next.upper] {
		p.noStatement(verb + " " + t.upper + " " + next.upper)
	}
	p.noStatement(verb + " " + t.upper)
}

// refusedObjects are the kinds of objects that SQL Server has and this does
// not, with the second words that belong to the kind.
var refusedObjects = map[string]string{
	"AGGREGATE": "", "APPLICATION": "ROLE", "ASSEMBLY": "", "ASYMMETRIC": "KEY", "AUTHORIZATION": "", "AVAILABILITY": "GROUP", "BROKER": "PRIORITY",
	"CERTIFICATE": "", "COLUMN": "ENCRYPTION MASTER", "COLUMNSTORE": "INDEX", "CONTRACT": "", "CREDENTIAL": "", "CRYPTOGRAPHIC": "PROVIDER",
	"DEFAULT": "", "ENDPOINT": "", "EVENT": "SESSION NOTIFICATION", "EXTERNAL": "DATA FILE TABLE LANGUAGE LIBRARY MODEL", "FULLTEXT": "CATALOG INDEX STOPLIST",
	"FUNCTION": "", "INDEX": "", "JSON": "INDEX", "MASTER": "KEY", "MATERIALIZED": "VIEW", "MESSAGE": "TYPE", "PARTITION": "FUNCTION SCHEME", "PRIMARY": "XML", "QUEUE": "", "REMOTE": "SERVICE",
	"RESOURCE": "POOL GOVERNOR", "ROUTE": "", "RULE": "", "SCHEMA": "", "SEARCH": "PROPERTY", "SECURITY": "POLICY", "SELECTIVE": "XML", "SEQUENCE": "", "SENSITIVITY": "CLASSIFICATION",
	"SERVER": "AUDIT ROLE CONFIGURATION", "SERVICE": "MASTER", "SIGNATURE": "", "SPATIAL": "INDEX", "STATISTICS": "", "SYMMETRIC": "KEY", "SYNONYM": "",
	"TRIGGER": "", "TYPE": "", "VECTOR": "INDEX", "WORKLOAD": "GROUP CLASSIFIER", "XML": "SCHEMA INDEX",
}
