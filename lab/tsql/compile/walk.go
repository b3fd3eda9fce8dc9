package compile

import "github.com/crosskeys/crosskeys/lab/tsql/ast"

// walk visits an expression and what it is made of, but no queries within it;
// visit says whether to go deeper.
func walk(x ast.Node, visit func(ast.Node) bool) {
	if x == nil || !visit(x) {
		return
	}
	for _, child := range children(x) {
		if child != nil {
			walk(child, visit)
		}
	}
}

func nodes(list ...ast.Expression) []ast.Node {
	var out []ast.Node
	for _, e := range list {
		if e != nil {
			out = append(out, e)
		}
	}
	return out
}

// children are the expressions of which one is made.
func children(x ast.Node) []ast.Node {
	switch x := x.(type) {
	case *ast.Unary:
		return nodes(x.X)
	case *ast.Arithmetic:
		return nodes(x.L, x.R)
	case *ast.Collate:
		return nodes(x.X)
	case *ast.AtTimeZone:
		return nodes(x.X, x.Zone)
	case *ast.Case:
		out := nodes(x.Operand, x.Else)
		for _, w := range x.Whens {
			if w.If != nil {
				out = append(out, w.If)
			}
			out = append(out, nodes(w.Value, w.Then)...)
		}
		return out
	case *ast.IIF:
		return append(nodes(x.Then, x.Else), x.If)
	case *ast.Cast:
		return nodes(x.X)
	case *ast.Convert:
		return nodes(x.X, x.Style)
	case *ast.Call:
		return callChildren(x)
	case *ast.Trim:
		return nodes(x.Chars, x.X)
	default:
		return predicateChildren(x)
	}
}

func callChildren(x *ast.Call) []ast.Node {
	out := nodes(x.Args...)
	for _, item := range x.Within {
		out = append(out, item.Expr)
	}
	if x.Over != nil {
		out = append(out, nodes(x.Over.PartitionBy...)...)
		for _, item := range x.Over.OrderBy {
			out = append(out, item.Expr)
		}
	}
	return out
}

func predicateChildren(x ast.Node) []ast.Node {
	switch x := x.(type) {
	case *ast.Comparison:
		return nodes(x.L, x.R)
	case *ast.Quantified:
		return nodes(x.X)
	case *ast.Logical:
		return []ast.Node{x.L, x.R}
	case *ast.Not:
		return []ast.Node{x.X}
	case *ast.IsNull:
		return nodes(x.X)
	case *ast.IsDistinct:
		return nodes(x.L, x.R)
	case *ast.Between:
		return nodes(x.X, x.Low, x.High)
	case *ast.Like:
		return nodes(x.X, x.Pattern, x.Escape)
	case *ast.In:
		return append(nodes(x.X), nodes(x.List...)...)
	default:
		return nil
	}
}

// hasQuery says whether an expression has a subquery in it.
func hasQuery(x ast.Node) bool {
	found := false
	walk(x, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Subquery, *ast.Exists, *ast.Quantified:
			found = true
		case *ast.In:
			found = found || n.Query != nil
		}
		return !found
	})
	return found
}
