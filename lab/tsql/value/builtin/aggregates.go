package builtin

import (
	"fmt"
	"math"
	"math/big"

	"github.com/ncruces/go-sqlite3"

	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// The aggregates under their names in SQLite. Those of one argument may be
// DISTINCT; all but Single may be window functions.
const (
	SumWhole   = "ck_sum_whole"   // of whole numbers and money: INTEGER, error 8115
	SumDecimal = "ck_sum_decimal" // of decimals: as a decimal(38, s)
	SumFloat   = "ck_sum_float"
	StDev      = "ck_stdev"
	StDevP     = "ck_stdevp"
	Var        = "ck_var"
	VarP       = "ck_varp"
	Checksum   = "ck_checksum_agg"
	Single     = "ck_single" // the one value of a scalar subquery, error 512
)

func registerAggregates(c *sqlite3.Conn) error {
	flags := sqlite3.DETERMINISTIC | sqlite3.INNOCUOUS
	for name, make := range map[string]sqlite3.AggregateConstructor{
		SumWhole:   func() sqlite3.AggregateFunction { return &sumWhole{} },
		SumDecimal: func() sqlite3.AggregateFunction { return &sumDecimal{} },
		SumFloat: func() sqlite3.AggregateFunction {
			return &moments{finish: func(m *moments) (float64, bool) { return m.sum, m.n > 0 }}
		},
		Var:      func() sqlite3.AggregateFunction { return &moments{finish: variance(1, false)} },
		VarP:     func() sqlite3.AggregateFunction { return &moments{finish: variance(0, false)} },
		StDev:    func() sqlite3.AggregateFunction { return &moments{finish: variance(1, true)} },
		StDevP:   func() sqlite3.AggregateFunction { return &moments{finish: variance(0, true)} },
		Checksum: func() sqlite3.AggregateFunction { return &checksum{} },
		Single:   func() sqlite3.AggregateFunction { return &single{} },
	} {
		if err := c.CreateWindowFunction(name, 1, flags, make); err != nil {
			return fmt.Errorf("registering %s: %w", name, err)
		}
	}
	return nil
}

// sumWhole sums whole numbers; the sum may pass beyond a bigint on its way.
type sumWhole struct {
	n   int64
	sum big.Int
	v   big.Int
}

// Step adds a row's value.
func (s *sumWhole) Step(_ sqlite3.Context, arg ...sqlite3.Value) {
	if arg[0].Type() != sqlite3.NULL {
		s.n++
		s.sum.Add(&s.sum, s.v.SetInt64(arg[0].Int64()))
	}
}

// Inverse takes a row's value out again.
func (s *sumWhole) Inverse(_ sqlite3.Context, arg ...sqlite3.Value) {
	if arg[0].Type() != sqlite3.NULL {
		s.n--
		s.sum.Sub(&s.sum, s.v.SetInt64(arg[0].Int64()))
	}
}

// Value answers with the outcome so far.
func (s *sumWhole) Value(ctx sqlite3.Context) {
	switch {
	case s.n == 0:
		ctx.ResultNull()
	case !s.sum.IsInt64():
		value.Raise(ctx, value.Overflow(value.BigInt))
	default:
		ctx.ResultInt64(s.sum.Int64())
	}
}

// sumDecimal sums decimals in either coding; they all have one scale.
type sumDecimal struct {
	n   int64
	sum big.Int
}

func unscaled(v sqlite3.Value) (*big.Int, error) {
	t := value.DecimalOf(38, 0)
	if v.Type() == sqlite3.INTEGER {
		t = value.DecimalOf(18, 0)
	}
	out, err := value.Arg(v, t)
	if err != nil {
		return nil, err
	}
	n, err := number(out, t)
	return n.Unscaled, err
}

// Step adds a row's value.
func (s *sumDecimal) Step(ctx sqlite3.Context, arg ...sqlite3.Value) { s.add(ctx, arg[0], 1) }

// Inverse takes a row's value out again.
func (s *sumDecimal) Inverse(ctx sqlite3.Context, arg ...sqlite3.Value) { s.add(ctx, arg[0], -1) }

func (s *sumDecimal) add(ctx sqlite3.Context, v sqlite3.Value, sign int64) {
	if v.Type() == sqlite3.NULL {
		return
	}
	u, err := unscaled(v)
	if err != nil {
		value.Raise(ctx, err)
		return
	}
	s.n += sign
	if sign < 0 {
		s.sum.Sub(&s.sum, u)
		return
	}
	s.sum.Add(&s.sum, u)
}

// Value answers with the outcome so far.
func (s *sumDecimal) Value(ctx sqlite3.Context) {
	if s.n == 0 {
		ctx.ResultNull()
		return
	}
	to := value.DecimalOf(38, 0)
	n, err := value.Convert(number38(&s.sum), to, to)
	if err != nil {
		value.Raise(ctx, value.Overflow(to))
		return
	}
	value.Result(ctx, to, n)
}

// moments are the sums that a variance is made of, kept as a mean and the
// squares about it so that nothing is lost.
type moments struct {
	n                 int64
	sum, mean, square float64
	finish            func(*moments) (float64, bool)
}

// Step adds a row's value.
func (m *moments) Step(_ sqlite3.Context, arg ...sqlite3.Value) {
	if arg[0].Type() == sqlite3.NULL {
		return
	}
	x := arg[0].Float()
	m.n++
	m.sum += x
	d := x - m.mean
	m.mean += d / float64(m.n)
	m.square += d * (x - m.mean)
}

// Inverse takes a row's value out again.
func (m *moments) Inverse(_ sqlite3.Context, arg ...sqlite3.Value) {
	if arg[0].Type() == sqlite3.NULL {
		return
	}
	x := arg[0].Float()
	if m.n == 1 {
		m.n, m.sum, m.mean, m.square = 0, 0, 0, 0
		return
	}
	m.n--
	m.sum -= x
	d := x - m.mean
	m.mean -= d / float64(m.n)
	m.square -= d * (x - m.mean)
}

// Value answers with the outcome so far.
func (m *moments) Value(ctx sqlite3.Context) {
	f, ok := m.finish(m)
	if !ok {
		ctx.ResultNull()
		return
	}
	if _, err := value.FitFloat(f, value.Float); err != nil {
		value.Raise(ctx, err)
		return
	}
	ctx.ResultFloat(f)
}

func variance(less int64, root bool) func(*moments) (float64, bool) {
	return func(m *moments) (float64, bool) {
		if m.n-less <= 0 {
			return 0, false
		}
		v := max(0, m.square/float64(m.n-less))
		if root {
			v = math.Sqrt(v)
		}
		return v, true
	}
}

// checksum is CHECKSUM_AGG: the order of the values does not count.
type checksum struct {
	n   int64
	sum int32
}

// Step adds a row's value.
func (c *checksum) Step(_ sqlite3.Context, arg ...sqlite3.Value) {
	if arg[0].Type() != sqlite3.NULL {
		c.n++
		c.sum ^= int32(arg[0].Int64())
	}
}

// Inverse takes a row's value out again.
func (c *checksum) Inverse(_ sqlite3.Context, arg ...sqlite3.Value) {
	if arg[0].Type() != sqlite3.NULL {
		c.n--
		c.sum ^= int32(arg[0].Int64())
	}
}

// Value answers with the outcome so far.
func (c *checksum) Value(ctx sqlite3.Context) {
	if c.n == 0 {
		ctx.ResultNull()
		return
	}
	ctx.ResultInt64(int64(c.sum))
}

// single keeps the one value of a scalar subquery.
type single struct {
	n    int
	kept *sqlite3.Value
}

// Step adds a row's value.
func (s *single) Step(ctx sqlite3.Context, arg ...sqlite3.Value) {
	s.n++
	if s.n > 1 {
		value.Raise(ctx, value.Errorf(512, "Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, <= , >, >= or when the subquery is used as an expression."))
		return
	}
	s.kept = arg[0].Dup()
}

// Inverse takes a row's value out again.
func (s *single) Inverse(ctx sqlite3.Context, _ ...sqlite3.Value) {
	ctx.ResultError(fmt.Errorf("%s is not a window function", Single))
}

// Value answers with the outcome so far.
func (s *single) Value(ctx sqlite3.Context) {
	if s.kept == nil {
		ctx.ResultNull()
		return
	}
	ctx.ResultValue(*s.kept)
}

// Close frees the value.
func (s *single) Close() error {
	if s.kept == nil {
		return nil
	}
	return s.kept.Close()
}
