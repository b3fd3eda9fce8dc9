package builtin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// Pack is an aggregate that puts rows into one value, Rows a table-valued
// function that takes them out again: so APPLY can join each row with a query
// that refers to it, which SQLite's own subqueries cannot. The columns of Rows
// are called c1, c2 … up to PackedColumns.
const (
	Pack          = "ck_pack"
	Rows          = "ck_rows"
	PackedColumns = 128
)

func registerPack(c *sqlite3.Conn) error {
	if err := c.CreateWindowFunction(Pack, -1, sqlite3.DETERMINISTIC|sqlite3.INNOCUOUS, func() sqlite3.AggregateFunction { return &pack{} }); err != nil {
		return fmt.Errorf("registering %s: %w", Pack, err)
	}
	connect := func(db *sqlite3.Conn, _, _, _ string, _ ...string) (rowsTable, error) {
		names := make([]string, PackedColumns)
		for i := range names {
			names[i] = fmt.Sprintf("c%d", i+1)
		}
		return rowsTable{}, db.DeclareVTab("CREATE TABLE x(" + strings.Join(names, ", ") + ", packed HIDDEN)")
	}
	//lint:ignore SA1019 the generic method that takes its place needs Go 1.27
	err := sqlite3.CreateModule(c, Rows, nil, connect) //nolint:staticcheck // likewise
	if err != nil {
		return fmt.Errorf("registering %s: %w", Rows, err)
	}
	return nil
}

// pack keeps rows one behind the other: the number of columns, then for each
// value its kind and its bytes.
type pack struct{ data []byte }

// Step adds a row.
func (p *pack) Step(_ sqlite3.Context, arg ...sqlite3.Value) {
	if p.data == nil {
		p.data = binary.AppendUvarint(p.data, uint64(len(arg)))
	}
	for _, v := range arg {
		kind := v.Type()
		p.data = append(p.data, byte(kind))
		switch kind {
		case sqlite3.INTEGER:
			p.data = binary.AppendVarint(p.data, v.Int64())
		case sqlite3.FLOAT:
			p.data = binary.BigEndian.AppendUint64(p.data, math.Float64bits(v.Float()))
		case sqlite3.TEXT:
			p.data = binary.AppendUvarint(p.data, uint64(len(v.RawText())))
			p.data = append(p.data, v.RawText()...)
		case sqlite3.BLOB:
			p.data = binary.AppendUvarint(p.data, uint64(len(v.RawBlob())))
			p.data = append(p.data, v.RawBlob()...)
		default:
		}
	}
}

// Value answers with the rows.
func (p *pack) Value(ctx sqlite3.Context) {
	if p.data == nil {
		ctx.ResultNull()
		return
	}
	ctx.ResultBlob(p.data)
}

type rowsTable struct{}

// BestIndex asks for the packed rows.
func (rowsTable) BestIndex(idx *sqlite3.IndexInfo) error {
	for i, cst := range idx.Constraint {
		if cst.Column == PackedColumns && cst.Op == sqlite3.INDEX_CONSTRAINT_EQ && cst.Usable {
			idx.ConstraintUsage[i] = sqlite3.IndexConstraintUsage{Omit: true, ArgvIndex: 1}
			idx.EstimatedCost, idx.EstimatedRows = 1, 25
			return nil
		}
	}
	return sqlite3.CONSTRAINT
}

// Open makes a cursor.
func (rowsTable) Open() (sqlite3.VTabCursor, error) { return &rowsCursor{}, nil }

// rowsCursor stands on one row; rest is what lies behind it.
type rowsCursor struct {
	columns int
	rest    []byte
	row     []any
	n       int64
	done    bool
}

var errPacked = errors.New("packed rows are damaged")

// Filter begins with the first row.
func (r *rowsCursor) Filter(_ int, _ string, arg ...sqlite3.Value) error {
	*r = rowsCursor{}
	if len(arg) == 0 || arg[0].Type() != sqlite3.BLOB {
		r.done = true
		return nil
	}
	data := arg[0].Blob(nil)
	n, size := binary.Uvarint(data)
	if size <= 0 || n == 0 || n > PackedColumns {
		return errPacked
	}
	r.columns, r.rest = int(n), data[size:]
	return r.Next()
}

// Next reads the next row.
func (r *rowsCursor) Next() error {
	if len(r.rest) == 0 {
		r.done = true
		return nil
	}
	r.n++
	row := make([]any, r.columns)
	for i := range row {
		v, rest, err := unpack(r.rest)
		if err != nil {
			return err
		}
		row[i], r.rest = v, rest
	}
	r.row = row
	return nil
}

// unpack reads one value.
func unpack(b []byte) (v any, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, errPacked
	}
	kind, b := sqlite3.Datatype(b[0]), b[1:]
	switch kind {
	case sqlite3.INTEGER:
		n, size := binary.Varint(b)
		if size <= 0 {
			return nil, nil, errPacked
		}
		return n, b[size:], nil
	case sqlite3.FLOAT:
		if len(b) < 8 {
			return nil, nil, errPacked
		}
		return math.Float64frombits(binary.BigEndian.Uint64(b)), b[8:], nil
	case sqlite3.TEXT, sqlite3.BLOB:
		n, size := binary.Uvarint(b)
		if size <= 0 || uint64(len(b)-size) < n {
			return nil, nil, errPacked
		}
		part := b[size : size+int(n)]
		if kind == sqlite3.TEXT {
			return string(part), b[size+int(n):], nil
		}
		return part, b[size+int(n):], nil
	default:
		return nil, b, nil
	}
}

// EOF says whether the rows are at their end.
func (r *rowsCursor) EOF() bool { return r.done }

// Column answers with a value of the row.
func (r *rowsCursor) Column(ctx sqlite3.Context, n int) error {
	if n >= len(r.row) {
		ctx.ResultNull()
		return nil
	}
	switch v := r.row[n].(type) {
	case int64:
		ctx.ResultInt64(v)
	case float64:
		ctx.ResultFloat(v)
	case string:
		ctx.ResultText(v)
	case []byte:
		if len(v) == 0 {
			ctx.ResultZeroBlob(0)
			return nil
		}
		ctx.ResultBlob(v)
	default:
		ctx.ResultNull()
	}
	return nil
}

// RowID is the row's number.
func (r *rowsCursor) RowID() (int64, error) { return r.n, nil }
