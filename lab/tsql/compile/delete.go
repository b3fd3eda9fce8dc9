package compile

import (
	"fmt"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/ast"
)

func (c *compiler) delete(s *ast.Delete) (*Program, error) {
	if s.CurrentOf != "" {
		return nil, refuse(s.Pos, "WHERE CURRENT OF")
	}
	src, err := c.changeFrom(s.Target, s.From, s.Where, "DELETE")
	if err != nil {
		return nil, err
	}
	t := src.target.table
	p := c.changing(t, "DELETE", sqltype.CommandDelete)
	if !src.joined && s.Top == nil && s.OutputInto == nil && !outputQueries(s.Output) && len(c.referencing(t)) == 0 {
		return c.deleteDirect(s, p, src)
	}
	w := c.work(t, p)
	w.verb, w.deletes = "DELETE", true
	parts := []string{fmt.Sprintf("%d AS act, %s%s AS rid", actDelete, src.target.sql, rowID(t))}
	for _, i := range physical(t) {
		parts = append(parts, fmt.Sprintf("%s AS o%d", src.target.columns[i].expr.sql, i+1))
	}
	sql, extra, err := c.changed(src, parts, s.Top, s.Output != nil || s.OutputInto != nil)
	if err != nil {
		return nil, err
	}
	return w.finish(sql, s.Output, s.OutputInto, extra)
}

func (c *compiler) deleteDirect(s *ast.Delete, p *Program, src *changeSource) (*Program, error) {
	t := src.target.table
	step := Step{SQL: "DELETE FROM " + src.from, Counts: true}
	if src.where != "" {
		step.SQL += " WHERE " + src.where
	}
	if s.Output != nil {
		deleted, err := c.rowSource(t, "deleted", func(i int) string { return quote(t.Columns[i].Name) })
		if err != nil {
			return nil, err
		}
		if err := c.returning(p, &step, s.Output, deleted); err != nil {
			return nil, err
		}
	}
	step.Binds = c.binds
	p.Steps = append(p.Steps, step)
	return p, nil
}

// truncate is TRUNCATE TABLE; that the identity begins anew is the session's
// to do, which sees it at Program.Truncates.
func (c *compiler) truncate(s *ast.TruncateTable) (*Program, error) {
	t, err := c.target(&ast.TableRef{Pos: s.Table.Pos, Name: s.Table}, "TRUNCATE TABLE")
	if err != nil {
		return nil, err
	}
	for _, other := range c.referencing(t) {
		if other.ObjectID != t.ObjectID {
			return nil, message(s.Pos, 4712, "Cannot truncate table '%s' because it is being referenced by a FOREIGN KEY constraint.", t.Name)
		}
	}
	p := c.changing(t, "ALTER", 0)
	p.Truncates = true
	p.Steps = []Step{{SQL: "DELETE FROM " + stored(t)}}
	return p, nil
}
