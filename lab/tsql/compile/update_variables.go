package compile

import (
	"fmt"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// variableSet are the variables that an UPDATE sets: their columns of the work
// table, v1, v2 ….
type variableSet struct {
	parts []string
	names []string
	types []sqltype.Type
}

// setVariables compiles @v = column = x and @v = x of an UPDATE. A value that
// builds on a variable that the same statement sets would depend on the order
// of the rows, and is refused.
func (c *compiler) setVariables(list []ast.Assignment, src *changeSource) (*variableSet, error) {
	out := &variableSet{}
	set := map[string]bool{}
	for _, a := range list {
		if a.Variable != "" {
			set[strings.ToLower(a.Variable)] = true
		}
	}
	for _, a := range list {
		walk(a.Value, func(n ast.Node) bool {
			v, ok := n.(*ast.Variable)
			if ok && set[strings.ToLower(v.Name)] {
				set[""] = true
			}
			return true
		})
		if set[""] || a.Variable != "" && a.Op != "" && a.Column == nil {
			return nil, refuse(a.Pos, "UPDATE that sets a variable and reads it")
		}
		if a.Variable == "" {
			continue
		}
		v, err := c.variable(a.Pos, a.Variable)
		if err != nil {
			return nil, err
		}
		got, err := c.variableValue(a, src)
		if err != nil {
			return nil, err
		}
		if got, err = assign(a.Pos, got, v.typ); err != nil {
			return nil, err
		}
		out.names, out.types = append(out.names, a.Variable), append(out.types, v.typ)
		out.parts = append(out.parts, fmt.Sprintf("%s AS v%d", got.sql, len(out.names)))
	}
	return out, nil
}

// variableValue is what a variable is set to: the column's new value, if there
// is a column.
func (c *compiler) variableValue(a ast.Assignment, src *changeSource) (expr, error) {
	if a.Column == nil {
		at := *src.at
		at.clause = "SET"
		return c.expr(a.Value, &at)
	}
	set, err := c.setting([]ast.Assignment{a}, src.target, src.at, "UPDATE")
	if err != nil {
		return expr{}, err
	}
	for i, e := range set {
		e.typ = src.target.table.Columns[i].Type
		return e, nil
	}
	return expr{}, message(a.Pos, 102, "Incorrect syntax near '='.")
}

// step assigns the variables from the work table, the last row's values in the
// end.
func (v *variableSet) step(table string) *Step {
	if len(v.names) == 0 {
		return nil
	}
	cols := make([]string, len(v.names))
	for i := range cols {
		cols[i] = fmt.Sprintf("v%d", i+1)
	}
	return &Step{SQL: "SELECT " + strings.Join(cols, ", ") + " FROM " + table, Rows: AssignRows, Types: v.types, Assign: v.names}
}
