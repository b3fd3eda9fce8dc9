package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
	"github.com/crosskeys/crosskeys/lab/tsql/value/builtin"
)

// expr compiles a value.
func (c *compiler) expr(x ast.Expression, e *env) (expr, error) {
	if e.grouped != nil && !e.aggregate {
		if got, ok := c.groupedExpr(x, e); ok {
			return got, nil
		}
	}
	got, err := c.exprAs(x, e)
	if err != nil {
		return expr{}, located(err, x.Position())
	}
	return got, nil
}

// groupedExpr is an expression that the query groups by.
func (c *compiler) groupedExpr(x ast.Expression, e *env) (expr, bool) {
	switch x.(type) {
	case *ast.Literal, *ast.Variable, *ast.Subquery:
		return expr{}, false
	}
	if hasAggregate(x) {
		return expr{}, false
	}
	plain := *e
	plain.grouped, plain.windowed = nil, false
	binds, uses, aliases := len(c.binds), len(c.uses), c.aliases
	got, err := c.exprAs(x, &plain)
	if err == nil && e.grouped[got.sql] {
		return got, true
	}
	c.binds, c.uses, c.aliases = c.binds[:binds], c.uses[:uses], aliases
	return expr{}, false
}

func (c *compiler) exprAs(x ast.Expression, e *env) (expr, error) {
	switch x := x.(type) {
	case *ast.Literal:
		return literalOf(x)
	case *ast.Variable:
		return c.variable(x.Pos, x.Name)
	case *ast.SystemVariable:
		return c.variable(x.Pos, strings.ToLower(x.Name))
	case *ast.ColumnRef:
		return c.columnRef(x, e)
	case *ast.PseudoColumn:
		return c.pseudoColumn(x, e)
	case *ast.DefaultValue:
		return expr{}, message(x.Pos, 156, "Incorrect syntax near the keyword 'DEFAULT'.")
	case *ast.Unary:
		return c.unary(x, e)
	case *ast.Arithmetic:
		return c.arithmetic(x, e)
	case *ast.Collate:
		return c.collateExpr(x, e)
	case *ast.Case:
		return c.caseExpr(x, e)
	case *ast.IIF:
		return c.caseOf(x.Pos, []ast.When{{If: x.If, Then: x.Then}}, x.Else, e)
	case *ast.Cast:
		return c.cast(x.Pos, x.Try, x.X, x.Type, nil, e)
	case *ast.Convert:
		return c.cast(x.Pos, x.Try, x.X, x.Type, x.Style, e)
	case *ast.Call:
		return c.call(x, e)
	case *ast.Trim:
		return c.trim(x, e)
	case *ast.Subquery:
		return c.scalarSubquery(x, e)
	case *ast.AtTimeZone:
		return c.atTimeZone(x, e)
	default:
		return expr{}, refuse(x.Position(), strings.TrimPrefix(fmt.Sprintf("%T", x), "*ast."))
	}
}

func (c *compiler) variable(pos ast.Pos, name string) (expr, error) {
	t, ok := sqltype.Type{}, false
	if c.scope.Variables != nil {
		t, ok = c.scope.Variables(name)
	}
	if !ok {
		if strings.HasPrefix(name, "@@") {
			return expr{}, refuse(pos, strings.ToUpper(name))
		}
		return expr{}, message(pos, 137, "Must declare the scalar variable \"%s\".", name)
	}
	if c.sets != nil {
		if got, done, err := c.sets.read(pos, name); done || err != nil {
			return got, err
		}
	}
	return expr{sql: c.bind(name, t), typ: t, nullable: true, coll: collationOf(t), single: true}, nil
}

func (c *compiler) columnRef(x *ast.ColumnRef, e *env) (expr, error) {
	got, src, at, err := c.find(x, e)
	if err != nil {
		return expr{}, err
	}
	if at.grouped != nil && !e.aggregate && !at.grouped[got.sql] {
		name := got.name
		if src.name != "" {
			name = src.name + "." + name
			if src.written != "" {
				name = src.written + "." + name
			}
		}
		switch e.clause {
		case "HAVING":
			return expr{}, message(x.Pos, 8121, "Column '%s' is invalid in the HAVING clause because it is not contained in either an aggregate function or the GROUP BY clause.", name)
		case "ORDER BY":
			return expr{}, message(x.Pos, 8127, "Column \"%s\" is invalid in the ORDER BY clause because it is not contained in either an aggregate function or the GROUP BY clause.", name)
		default:
			return expr{}, message(x.Pos, 8120, "Column '%s' is invalid in the select list because it is not contained in either an aggregate function or the GROUP BY clause.", name)
		}
	}
	return got, nil
}

// pseudoColumn is $ACTION in MERGE's OUTPUT, which a source named $ offers,
// or $IDENTITY.
func (c *compiler) pseudoColumn(x *ast.PseudoColumn, e *env) (expr, error) {
	for at := e; at != nil; at = at.parent {
		for _, s := range at.sources {
			if x.Name == "$ACTION" && s.name == "$" {
				return s.columns[0].expr, nil
			}
			if x.Name != "$IDENTITY" || x.Table != nil && !c.names(*x.Table, s) {
				continue
			}
			for _, col := range s.columns {
				if col.identity {
					return col.expr, nil
				}
			}
		}
	}
	return expr{}, message(x.Pos, 207, "Invalid column name '%s'.", strings.ToLower(x.Name))
}

func (c *compiler) collateExpr(x *ast.Collate, e *env) (expr, error) {
	got, err := c.expr(x.X, e)
	if err != nil {
		return expr{}, err
	}
	coll, ok := value.CollationOf(x.Collation)
	if !ok {
		return expr{}, refuse(x.Pos, "COLLATE "+x.Collation)
	}
	if !value.IsString(got.typ) {
		return expr{}, message(x.Pos, 447, "Expression type %s is invalid for COLLATE clause.", value.Name(got.typ))
	}
	got.coll, got.explicit, got.constant = coll, true, nil
	return got, nil
}

func (c *compiler) caseExpr(x *ast.Case, e *env) (expr, error) {
	if x.Operand == nil {
		return c.caseOf(x.Pos, x.Whens, x.Else, e)
	}
	whens := make([]ast.When, len(x.Whens))
	for i, w := range x.Whens {
		whens[i] = ast.When{Pos: w.Pos, If: &ast.Comparison{Pos: w.Pos, Op: ast.Equal, L: x.Operand, R: w.Value}, Then: w.Then}
	}
	return c.caseOf(x.Pos, whens, x.Else, e)
}

// caseOf compiles a searched CASE.
func (c *compiler) caseOf(pos ast.Pos, whens []ast.When, otherwise ast.Expression, e *env) (expr, error) {
	conditions := make([]string, len(whens))
	values := make([]expr, 0, len(whens)+1)
	allNull := true
	for i, w := range whens {
		cond, err := c.predicate(w.If, e)
		if err != nil {
			return expr{}, err
		}
		v, err := c.expr(w.Then, e)
		if err != nil {
			return expr{}, err
		}
		conditions[i], values = cond, append(values, v)
		allNull = allNull && v.null
	}
	last := expr{sql: "NULL", typ: value.Int, null: true, nullable: true}
	if otherwise != nil {
		v, err := c.expr(otherwise, e)
		if err != nil {
			return expr{}, err
		}
		last = v
	}
	if allNull && last.null {
		return expr{}, message(pos, 8133, "At least one of the result expressions in a CASE specification must be an expression other than the NULL constant.")
	}
	values, t, err := common(pos, append(values, last))
	if err != nil {
		return expr{}, err
	}
	var b strings.Builder
	b.WriteString("CASE")
	nullable := false
	for i, cond := range conditions {
		b.WriteString(" WHEN " + cond + " THEN " + values[i].sql)
		nullable = nullable || values[i].nullable
	}
	b.WriteString(" ELSE " + values[len(values)-1].sql + " END")
	nullable = nullable || values[len(values)-1].nullable
	return expr{sql: b.String(), typ: t, nullable: nullable, coll: values[0].coll, explicit: values[0].explicit, single: true}, nil
}

// cast compiles CAST, CONVERT and their TRY forms.
func (c *compiler) cast(pos ast.Pos, try bool, x ast.Expression, dt ast.DataType, style ast.Expression, e *env) (expr, error) {
	got, err := c.expr(x, e)
	if err != nil {
		return expr{}, err
	}
	t, err := dataType(dt)
	if err != nil {
		return expr{}, err
	}
	if got.null {
		return got.to(t), nil
	}
	if value.RuleOf(got.typ, t) == value.Never || got.typ.Kind == sqltype.Decimal && value.IsBinary(t) || value.IsBinary(got.typ) && t.Kind == sqltype.Decimal {
		return expr{}, message(pos, 529, "Explicit conversion from data type %s to %s is not allowed.", value.Name(got.typ), value.Name(t))
	}
	if style == nil && !try {
		out := got.to(t)
		out.name, out.base = "", false
		return out, nil
	}
	args := []expr{got}
	if style != nil {
		s, err := c.expr(style, e)
		if err != nil {
			return expr{}, err
		}
		args = append(args, s.to(value.Int))
	}
	name := "cast"
	if try {
		name = "try_cast"
	}
	out := call(name, "", t, args...)
	if value.IsString(got.typ) && value.IsString(t) {
		out.coll, out.explicit = got.coll, got.explicit
	}
	out.nullable = out.nullable || try
	return out, nil
}

// dataType is a type of the system's, else error 243.
func dataType(dt ast.DataType) (sqltype.Type, error) {
	if dt.Type.Kind == sqltype.Unknown {
		return dt.Type, message(dt.Pos, 243, "Type %s is not a defined system type.", dt.Name.Object)
	}
	return dt.Type, nil
}

func (c *compiler) scalarSubquery(x *ast.Subquery, e *env) (expr, error) {
	got, err := c.query(x.Query, e, queryUse{subquery: true})
	if err != nil {
		return expr{}, err
	}
	if len(got.columns) != 1 {
		return expr{}, message(x.Pos, 116, "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.")
	}
	col := got.columns[0].expr
	out := expr{typ: col.typ, nullable: true, coll: col.coll, explicit: col.explicit, single: true}
	if got.single {
		out.sql = "(" + got.sql + ")"
		return out, nil
	}
	out.sql = fmt.Sprintf("(SELECT %s(c1) FROM (%s))", builtin.Single, got.sql)
	return out, nil
}

// atTimeZone knows only UTC; other zones have rules that the lab lacks.
func (c *compiler) atTimeZone(x *ast.AtTimeZone, e *env) (expr, error) {
	got, err := c.expr(x.X, e)
	if err != nil {
		return expr{}, err
	}
	zone, ok := x.Zone.(*ast.Literal)
	if !ok || !strings.EqualFold(zone.Text, "UTC") || !value.IsTime(got.typ) {
		return expr{}, refuse(x.Pos, "AT TIME ZONE")
	}
	scale := got.typ.Scale
	if got.typ.Kind == sqltype.DateTime {
		scale = 3
	}
	t := sqltype.Type{Kind: sqltype.DateTimeOffset, Scale: scale}
	if got.typ.Kind == sqltype.DateTimeOffset {
		return call("SWITCHOFFSET", "AT TIME ZONE", t, got, intLiteral(0)), nil
	}
	return got.to(t), nil
}
