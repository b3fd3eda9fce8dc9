package compile

import (
	"strings"

	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

// settingList are the variables that a SELECT sets, while its list is compiled.
type settingList struct {
	names map[string]bool
	// many says that there may be more rows than one: each would have to see the
	// variables as the row before it has left them.
	many bool
	// done are those that are set already, in lower case, with their new values.
	done map[string]expr
}

// settingOf are the variables that the select list sets, nil if it sets none.
func (q *selection) settingOf() *settingList {
	s := &settingList{names: map[string]bool{}, done: map[string]expr{}}
	for _, item := range q.s.Items {
		if item.Variable != "" {
			s.names[strings.ToLower(item.Variable)] = true
		}
	}
	if len(s.names) == 0 {
		return nil
	}
	s.many = len(q.s.From) > 0 && (q.at.grouped == nil || len(q.s.GroupBy) > 0)
	return s
}

// read is the value of a variable in the list: what an item before has set, done, or
// what it was before the statement.
func (s *settingList) read(pos ast.Pos, name string) (got expr, done bool, err error) {
	name = strings.ToLower(name)
	switch got, done = s.done[name]; {
	case s.many && s.names[name]:
		return expr{}, false, refuse(pos, "SELECT that sets a variable and reads it, FROM")
	case done && strings.Contains(got.sql, "ckv("):
		return expr{}, false, refuse(pos, "SELECT that reads a variable which it has set to a random value")
	default:
		return got, done, nil
	}
}

// assigned is the variable that an item sets, for its type.
func (c *compiler) assigned(item ast.SelectItem) (expr, error) {
	kept := c.sets
	c.sets = nil
	defer func() { c.sets = kept }()
	return c.variable(item.Pos, item.Variable)
}

// assignment is SELECT @v = x or @v += x.
func (q *selection) assignment(item ast.SelectItem, got expr) (output, error) {
	v, err := q.c.assigned(item)
	if err != nil {
		return output{}, err
	}
	if item.Op != "" {
		if v, err = q.c.variable(item.Pos, item.Variable); err != nil {
			return output{}, err
		}
		if got, err = operate(item.Pos, item.Op, v, got); err != nil {
			return output{}, err
		}
	}
	if got, err = assign(item.Pos, got, v.typ); err != nil {
		return output{}, err
	}
	if q.c.sets != nil {
		q.c.sets.done[strings.ToLower(item.Variable)] = got
	}
	return output{expr: got, variable: item.Variable}, nil
}
