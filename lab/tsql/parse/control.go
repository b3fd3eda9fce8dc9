package parse

import (
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// controlStatement parses the statements that steer a batch; nil when the word
// begins none of them.
func (p *parser) controlStatement(t token, pos ast.Pos) ast.Statement {
	switch t.upper {
	case "IF":
		return p.ifStatement()
	case "WHILE":
		p.at++
		s := &ast.While{Condition: p.predicate()}
		p.loops++
		s.Body = p.statement(false)
		p.loops--
		s.Span = p.span(pos)
		return s
	case "BEGIN":
		return p.begin()
	case "COMMIT", "ROLLBACK", "SAVE":
		return p.transaction()
	case "BREAK":
		p.inLoop(135, t)
		return &ast.Break{Span: p.span(pos)}
	case "CONTINUE":
		p.inLoop(136, t)
		return &ast.Continue{Span: p.span(pos)}
	case "RETURN":
		return p.returnStatement()
	case "GOTO":
		p.at++
		s := &ast.Goto{Label: p.ident().Name}
		s.Span = p.span(pos)
		p.gotos = append(p.gotos, s)
		return s
	case "WAITFOR":
		return p.waitFor()
	case "PRINT":
		p.at++
		s := &ast.Print{Value: p.value()}
		s.Span = p.span(pos)
		return s
	case "RAISERROR":
		return p.raiseError()
	case "THROW":
		return p.throw()
	}
	return nil
}

// inLoop takes BREAK or CONTINUE, which only a WHILE may hold.
func (p *parser) inLoop(number int32, t token) {
	if p.loops == 0 {
		p.raise(nearMessage(number, t.line, "Cannot use a %s statement outside the scope of a WHILE statement.", t.upper))
	}
	p.at++
}

func (p *parser) ifStatement() ast.Statement {
	pos := p.pos()
	p.expect("IF")
	s := &ast.If{Condition: p.predicate(), Then: p.statement(false)}
	// A semicolon ends the statement before ELSE, not the IF.
	n := 0
	for p.look(n).isSymbol(";") {
		n++
	}
	s.Span = p.span(pos)
	if p.look(n).is("ELSE") {
		p.at += n + 1
		s.Else = p.statement(false)
		s.Span = p.span(pos)
	}
	return s
}

// begin parses a block, a TRY … CATCH or the beginning of a transaction.
func (p *parser) begin() ast.Statement {
	pos := p.pos()
	switch t := p.look(1); {
	case t.is("TRAN") || t.is("TRANSACTION"):
		return p.beginTransaction()
	case t.is("TRY"):
		return p.tryCatch()
	case t.is("DISTRIBUTED"):
		p.noStatement("BEGIN DISTRIBUTED TRANSACTION")
	case t.is("DIALOG") || t.is("CONVERSATION"):
		p.noStatement("BEGIN " + t.upper)
	case t.is("ATOMIC"):
		p.noStatement("BEGIN ATOMIC")
	}
	p.at++
	s := &ast.Block{Statements: p.statements(false)}
	if len(s.Statements) == 0 {
		p.fail()
	}
	p.expect("END")
	s.Span = p.span(pos)
	return s
}

func (p *parser) tryCatch() ast.Statement {
	pos := p.pos()
	p.expect("BEGIN", "TRY")
	s := &ast.TryCatch{Try: p.statements(false)}
	if len(s.Try) == 0 {
		p.fail()
	}
	p.expect("END", "TRY")
	p.acceptSymbol(";")
	p.expect("BEGIN", "CATCH")
	p.catches++
	s.Catch = p.statements(false)
	p.catches--
	p.expect("END", "CATCH")
	s.Span = p.span(pos)
	return s
}

func (p *parser) beginTransaction() ast.Statement {
	pos := p.pos()
	p.at += 2
	s := &ast.BeginTransaction{TransactionName: p.transactionName()}
	if p.accept("WITH", "MARK") {
		if k := p.tok().kind; k == tokenString || k == tokenNString {
			s.Mark = p.next().text
		}
	}
	s.Span = p.span(pos)
	return s
}

// maxTransactionName is the greatest length of a transaction's name.
const maxTransactionName = 32

// transactionName takes a name or a variable, if one comes next.
func (p *parser) transactionName() ast.TransactionName {
	var n ast.TransactionName
	switch t := p.tok(); {
	case p.isVariable():
		n.Variable = p.variable()
	case t.isName() && !p.look(1).isSymbol(":"):
		n.Name = p.ident().Name
		if len([]rune(n.Name)) > maxTransactionName {
			m := nearMessage(103, t.line, "The identifier that starts with '%s' is too long. Maximum length is 32.", n.Name)
			m.State = 4
			p.raise(m)
		}
	}
	return n
}

// transaction parses COMMIT, ROLLBACK and SAVE TRANSACTION.
func (p *parser) transaction() ast.Statement {
	pos, word := p.pos(), p.next().upper
	var n ast.TransactionName
	switch {
	case p.accept("TRAN") || p.accept("TRANSACTION"):
		n = p.transactionName()
	case word == "SAVE":
		p.fail()
	default:
		p.accept("WORK")
	}
	switch word {
	case "COMMIT":
		if p.is("WITH") && p.look(1).isSymbol("(") {
			p.at += 2
			p.expect("DELAYED_DURABILITY")
			p.expectSymbol("=")
			p.expectAny("ON", "OFF")
			p.expectSymbol(")")
		}
		return &ast.CommitTransaction{Span: p.span(pos), TransactionName: n}
	case "ROLLBACK":
		return &ast.RollbackTransaction{Span: p.span(pos), TransactionName: n}
	}
	if n == (ast.TransactionName{}) {
		p.fail()
	}
	return &ast.SaveTransaction{Span: p.span(pos), TransactionName: n}
}

func (p *parser) returnStatement() ast.Statement {
	pos := p.pos()
	p.expect("RETURN")
	s := &ast.Return{}
	if p.beginsValue() {
		if !p.inProc {
			p.raise(syntax(178, pos.Line, "A RETURN statement with a return value cannot be used in this context."))
		}
		s.Value = p.value()
	}
	s.Span = p.span(pos)
	return s
}

// beginsValue says whether an expression comes next, rather than a statement
// or the end.
func (p *parser) beginsValue() bool {
	t := p.tok()
	switch t.kind {
	default:
		return true
	case tokenEnd, tokenBroken:
		return false
	case tokenSymbol:
		return t.text == "(" || t.text == "-" || t.text == "+" || t.text == "~"
	case tokenWord:
		if !t.reserved {
			return !p.look(1).isSymbol(":") && t.upper != "THROW"
		}
		return niladic[t.upper] || t.upper == "CASE" || t.upper == "NULL" || t.upper == "CONVERT" || t.upper == "TRY_CONVERT" || isKeywordFunction(t.upper)
	}
}

func (p *parser) waitFor() ast.Statement {
	pos := p.pos()
	p.expect("WAITFOR")
	if p.isSymbol("(") {
		p.noStatement("WAITFOR (…)")
	}
	s := &ast.WaitFor{Time: p.expectAny("DELAY", "TIME") == "TIME"}
	switch p.tok().kind {
	case tokenString, tokenNString, tokenVariable:
		s.Value = p.operand()
	default:
		p.fail()
	}
	s.Span = p.span(pos)
	return s
}

func (p *parser) raiseError() ast.Statement {
	pos := p.pos()
	p.expect("RAISERROR")
	if !p.isSymbol("(") {
		p.fail()
	}
	p.at++
	s := &ast.RaiseError{Message: p.signedLiteral()}
	p.expectSymbol(",")
	s.Severity = p.signedLiteral()
	p.expectSymbol(",")
	s.State = p.signedLiteral()
	for p.acceptSymbol(",") {
		s.Args = append(s.Args, p.signedLiteral())
	}
	p.expectSymbol(")")
	if p.accept("WITH") {
		p.list(func() {
			switch p.expectAny("LOG", "NOWAIT", "SETERROR") {
			case "LOG":
				s.Log = true
			case "NOWAIT":
				s.NoWait = true
			default:
				s.SetError = true
			}
		})
	}
	s.Span = p.span(pos)
	return s
}

func (p *parser) throw() ast.Statement {
	pos := p.pos()
	t := p.look(1)
	if t.kind != tokenInteger && (t.kind != tokenVariable || !p.look(2).isSymbol(",")) {
		if t.kind == tokenSymbol && t.text != ";" && t.text != "(" {
			return nil
		}
		p.at++
		if p.catches == 0 {
			p.raise(syntax(10704, pos.Line, "To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the THROW statement inside a CATCH block, "+
				"or add error parameters to the THROW statement."))
		}
		return &ast.Throw{Span: p.span(pos)}
	}
	p.at++
	s := &ast.Throw{Number: p.signedLiteral()}
	p.expectSymbol(",")
	s.Message = p.signedLiteral()
	p.expectSymbol(",")
	s.State = p.signedLiteral()
	s.Span = p.span(pos)
	return s
}

func (p *parser) kill() ast.Statement {
	pos := p.pos()
	p.expect("KILL")
	if p.is("QUERY", "NOTIFICATION") || p.is("STATS", "JOB") {
		p.noStatement("KILL " + p.tok().upper + " " + p.look(1).upper)
	}
	if k := p.tok().kind; k == tokenString || k == tokenNString {
		p.noOption("KILL unit of work")
	}
	s := &ast.Kill{Session: p.small()}
	if p.accept("WITH") {
		if !p.is("STATUSONLY") {
			p.fail()
		}
		p.at++
		s.StatusOnly = true
	}
	s.Span = p.span(pos)
	return s
}
