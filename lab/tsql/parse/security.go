package parse

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

func (p *parser) createLogin(pos ast.Pos) ast.Statement {
	p.expect("LOGIN")
	s := &ast.CreateLogin{Name: p.ident().Name}
	switch {
	case p.accept("FROM", "EXTERNAL", "PROVIDER"):
		s.ExternalProvider = true
		if p.accept("WITH") {
			s.Options = p.settings()
			p.knownOptions(s.Options, "OBJECT_ID TYPE SID DEFAULT_DATABASE DEFAULT_LANGUAGE")
		}
	case p.is("FROM"):
		p.noOption("FROM " + p.look(1).upper)
	default:
		p.expect("WITH", "PASSWORD")
		p.expectSymbol("=")
		if p.tok().kind == tokenBinary {
			s.PasswordHash = binaryOf(p.next())
			p.expect("HASHED")
		} else {
			s.Password = p.stringText()
		}
		if p.is("MUST_CHANGE") {
			p.noOption("MUST_CHANGE")
		}
		if p.acceptSymbol(",") {
			s.Options = p.settings()
			p.knownOptions(s.Options, "SID DEFAULT_DATABASE DEFAULT_LANGUAGE CHECK_EXPIRATION CHECK_POLICY")
		}
	}
	s.Span = p.span(pos)
	return s
}

func (p *parser) alterLogin(pos ast.Pos) ast.Statement {
	p.expect("LOGIN")
	s := &ast.AlterLogin{Name: p.ident().Name}
	switch {
	case p.isAny("ENABLE", "DISABLE"):
		s.State = p.next().upper
	case p.isAny("ADD", "DROP"):
		p.noOption("ALTER LOGIN " + p.tok().upper + " CREDENTIAL")
	default:
		p.expect("WITH")
		p.list(func() {
			switch {
			case p.is("PASSWORD"):
				s.Password, s.OldPassword = p.password()
			case p.accept("NAME"):
				p.expectSymbol("=")
				s.NewName = p.ident().Name
			default:
				s.Options = append(s.Options, p.setting())
			}
		})
		p.knownOptions(s.Options, "DEFAULT_DATABASE DEFAULT_LANGUAGE CHECK_EXPIRATION CHECK_POLICY")
	}
	s.Span = p.span(pos)
	return s
}

// password parses PASSWORD = 'new' [OLD_PASSWORD = 'old'].
func (p *parser) password() (password *string, old string) {
	p.expect("PASSWORD")
	p.expectSymbol("=")
	if p.tok().kind == tokenBinary {
		p.noOption("HASHED")
	}
	text := p.stringText()
	if p.isAny("MUST_CHANGE", "UNLOCK") {
		p.noOption(p.tok().upper)
	}
	if p.accept("OLD_PASSWORD") {
		p.expectSymbol("=")
		old = p.stringText()
	}
	return &text, old
}

func (p *parser) createUser(pos ast.Pos) ast.Statement {
	p.expect("USER")
	s := &ast.CreateUser{Name: p.ident().Name}
	switch {
	case p.accept("WITHOUT", "LOGIN"):
		s.WithoutLogin = true
	case p.accept("FROM", "EXTERNAL", "PROVIDER"):
		s.ExternalProvider = true
	case p.isAny("FOR", "FROM"):
		p.at++
		if p.isAny("CERTIFICATE", "ASYMMETRIC") {
			p.noOption("FOR " + p.tok().upper)
		}
		p.expect("LOGIN")
		s.Login = p.ident().Name
	}
	if p.accept("WITH") {
		p.list(func() {
			if p.is("PASSWORD") && s.Login == "" && !s.WithoutLogin && !s.ExternalProvider {
				s.Password, _ = p.password()
				return
			}
			s.Options = append(s.Options, p.setting())
		})
		p.knownOptions(s.Options, "DEFAULT_SCHEMA DEFAULT_LANGUAGE SID OBJECT_ID TYPE ALLOW_ENCRYPTED_VALUE_MODIFICATIONS")
	}
	s.Span = p.span(pos)
	return s
}

func (p *parser) alterUser(pos ast.Pos) ast.Statement {
	p.expect("USER")
	s := &ast.AlterUser{Name: p.ident().Name}
	p.expect("WITH")
	p.list(func() {
		switch {
		case p.is("PASSWORD"):
			s.Password, s.OldPassword = p.password()
		case p.accept("NAME"):
			p.expectSymbol("=")
			s.NewName = p.ident().Name
		case p.accept("LOGIN"):
			p.expectSymbol("=")
			s.Login = p.ident().Name
		default:
			s.Options = append(s.Options, p.setting())
		}
	})
	p.knownOptions(s.Options, "DEFAULT_SCHEMA DEFAULT_LANGUAGE ALLOW_ENCRYPTED_VALUE_MODIFICATIONS")
	s.Span = p.span(pos)
	return s
}

func (p *parser) alterRole(pos ast.Pos) ast.Statement {
	p.expect("ROLE")
	s := &ast.AlterRole{Name: p.ident().Name}
	switch {
	case p.accept("ADD", "MEMBER"):
		s.AddMember = p.ident().Name
	case p.accept("DROP", "MEMBER"):
		s.DropMember = p.ident().Name
	default:
		p.expect("WITH", "NAME")
		p.expectSymbol("=")
		s.NewName = p.ident().Name
	}
	s.Span = p.span(pos)
	return s
}

// permission parses GRANT, DENY and REVOKE.
func (p *parser) permission() ast.Statement {
	pos := p.pos()
	s := &ast.PermissionStatement{}
	switch p.next().upper {
	case "GRANT":
		s.Action = ast.Grant
	case "DENY":
		s.Action = ast.Deny
	default:
		s.Action = ast.Revoke
		s.GrantOptionFor = p.accept("GRANT", "OPTION", "FOR")
	}
	p.list(func() { s.Permissions = append(s.Permissions, p.permissionName()) })
	if p.accept("ON") {
		p.securable(s)
	}
	if s.Action == ast.Revoke && p.is("FROM") {
		p.at++
	} else {
		p.expect("TO")
	}
	p.list(func() { s.Principals = append(s.Principals, p.principal()) })
	if s.Action == ast.Grant {
		s.WithGrantOption = p.accept("WITH", "GRANT", "OPTION")
	} else {
		s.Cascade = p.accept("CASCADE")
	}
	if p.accept("AS") {
		s.As = p.ident().Name
	}
	s.Span = p.span(pos)
	return s
}

// permissionName parses the words of a permission up to its columns, a comma,
// ON or TO.
func (p *parser) permissionName() ast.Permission {
	a := ast.Permission{Pos: p.pos()}
	var words []string
	for p.tok().kind == tokenWord && !p.isAny("ON", "TO", "FROM") {
		words = append(words, p.next().upper)
	}
	if len(words) == 0 {
		p.fail()
	}
	a.Name = strings.Join(words, " ")
	a.Columns = p.optionalIdents()
	return a
}

// securable parses what a permission is on: [class ::] name [(columns)].
func (p *parser) securable(s *ast.PermissionStatement) {
	s.Class = "OBJECT"
	n := 0
	for p.look(n).kind == tokenWord {
		n++
	}
	if n > 0 && p.look(n).isSymbol("::") {
		var words []string
		for range n {
			words = append(words, p.next().upper)
		}
		s.Class = strings.Join(words, " ")
		p.at++
	}
	s.Securable = p.name()
	s.Columns = p.optionalIdents()
}

// principal takes a name, PUBLIC too.
func (p *parser) principal() ast.Ident {
	if pos := p.pos(); p.accept("PUBLIC") {
		return ast.Ident{Pos: pos, Name: "public"}
	}
	return p.ident()
}
