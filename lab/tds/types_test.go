package tds_test

import (
	"context"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tds"
)

// fixed is a backend whose every answer is one result set.
type fixed struct {
	columns []sqltype.Column
	rows    [][]any
}

func (f fixed) Login(_ context.Context, login tds.Login) (tds.Session, tds.LoginInfo, error) {
	return f, tds.LoginInfo{ServerName: "sql1", Database: login.Database}, nil
}

func (f fixed) Batch(_ context.Context, _ string, out sqltype.Results) error {
	if err := out.Columns(f.columns); err != nil {
		return err
	}
	for _, row := range f.rows {
		if err := out.Row(row); err != nil {
			return err
		}
	}
	return out.Done(sqltype.Done{Count: int64(len(f.rows)), HasCount: true, Command: sqltype.CommandSelect})
}

func (f fixed) Call(ctx context.Context, _ sqltype.Call, out sqltype.Results) error {
	return f.Batch(ctx, "", out)
}
func (fixed) Transaction(context.Context, sqltype.TransactionRequest, sqltype.Results) error {
	return nil
}
func (fixed) Reset(context.Context, bool) error { return nil }
func (fixed) Close() error                      { return nil }

func number(text string, scale uint8) sqltype.Number {
	n, _ := new(big.Int).SetString(text, 10)
	return sqltype.Number{Unscaled: n, Scale: scale}
}

// Every type as a client other than ours reads it.
func TestColumnTypes(t *testing.T) {
	type column struct {
		t          sqltype.Type
		value      any
		want       any
		name       string
		length     int64 // -1: the driver gives none
		prec, size int64 // of decimal
	}
	guid := sqltype.GUID{0x6F, 0x96, 0x19, 0xFF, 0x8B, 0x86, 0xD0, 0x11, 0xB4, 0x2D, 0x00, 0xC0, 0x4F, 0xC9, 0x64, 0xFF}
	at := time.Date(2026, 11, 24, 13, 45, 59, 123456700, time.UTC)
	long := strings.Repeat("é", 10000)
	columns := []column{
		{t: sqltype.Type{Kind: sqltype.Bit}, value: true, want: true, name: "BIT"},
		{t: sqltype.Type{Kind: sqltype.TinyInt}, value: int64(255), want: int64(255), name: "TINYINT"},
		{t: sqltype.Type{Kind: sqltype.SmallInt}, value: int64(math.MinInt16), want: int64(math.MinInt16), name: "SMALLINT"},
		{t: sqltype.Type{Kind: sqltype.Int}, value: int64(math.MinInt32), want: int64(math.MinInt32), name: "INT"},
		{t: sqltype.Type{Kind: sqltype.BigInt}, value: int64(math.MinInt64), want: int64(math.MinInt64), name: "BIGINT"},
		{t: sqltype.Type{Kind: sqltype.Decimal, Precision: 9, Scale: 2}, value: number("-123456789", 2), want: []byte("-1234567.89"), name: "DECIMAL", prec: 9, size: 2},
		{t: sqltype.Type{Kind: sqltype.Decimal, Precision: 19, Scale: 0}, value: number("1234567890123456789", 0), want: []byte("1234567890123456789"), name: "DECIMAL", prec: 19},
		{t: sqltype.Type{Kind: sqltype.Decimal, Precision: 28, Scale: 4}, value: number("5", 1), want: []byte("0.5000"), name: "DECIMAL", prec: 28, size: 4},
		{t: sqltype.Type{Kind: sqltype.Decimal, Precision: 38, Scale: 38}, value: number("-99999999999999999999999999999999999999", 38), want: []byte("-0.99999999999999999999999999999999999999"), name: "DECIMAL", prec: 38, size: 38},
		{t: sqltype.Type{Kind: sqltype.Money}, value: number("-9223372036854775808", 4), want: []byte("-922337203685477.5808"), name: "MONEY"},
		{t: sqltype.Type{Kind: sqltype.SmallMoney}, value: number("-2147483648", 4), want: []byte("-214748.3648"), name: "SMALLMONEY"},
		{t: sqltype.Type{Kind: sqltype.Real, Precision: 24}, value: 0.5, want: 0.5, name: "REAL"},
		{t: sqltype.Type{Kind: sqltype.Float, Precision: 53}, value: math.Pi, want: math.Pi, name: "FLOAT"},
		{t: sqltype.Type{Kind: sqltype.Char, Length: 4}, value: "é€  ", want: "é€  ", name: "CHAR", length: 4},
		{t: sqltype.Type{Kind: sqltype.VarChar, Length: 8000}, value: "日", want: "?", name: "VARCHAR", length: 8000},
		{t: sqltype.Type{Kind: sqltype.VarChar, Length: sqltype.Max}, value: long, want: long, name: "VARCHAR", length: 2147483645},
		{t: sqltype.Type{Kind: sqltype.NChar, Length: 3}, value: "日本 ", want: "日本 ", name: "NCHAR", length: 3},
		{t: sqltype.Type{Kind: sqltype.NVarChar, Length: 128}, value: "𝄞", want: "𝄞", name: "NVARCHAR", length: 128},
		{t: sqltype.Type{Kind: sqltype.NVarChar, Length: sqltype.Max}, value: "", want: "", name: "NVARCHAR", length: 1073741822},
		{t: sqltype.Type{Kind: sqltype.Binary, Length: 2}, value: []byte{0, 1}, want: []byte{0, 1}, name: "BINARY", length: 2},
		{t: sqltype.Type{Kind: sqltype.VarBinary, Length: 20}, value: []byte{0xEA}, want: []byte{0xEA}, name: "VARBINARY", length: 20},
		{t: sqltype.Type{Kind: sqltype.VarBinary, Length: sqltype.Max}, value: make([]byte, 300<<10), want: make([]byte, 300<<10), name: "VARBINARY", length: 2147483645},
		{t: sqltype.Type{Kind: sqltype.Date}, value: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), want: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), name: "DATE"},
		{t: sqltype.Type{Kind: sqltype.Time, Scale: 7}, value: time.Date(1, 1, 1, 23, 59, 59, 999999900, time.UTC), want: time.Date(1, 1, 1, 23, 59, 59, 999999900, time.UTC), name: "TIME"},
		{t: sqltype.Type{Kind: sqltype.Time, Scale: 0}, value: time.Date(1, 1, 1, 13, 0, 1, 0, time.UTC), want: time.Date(1, 1, 1, 13, 0, 1, 0, time.UTC), name: "TIME"},
		{t: sqltype.Type{Kind: sqltype.DateTime2, Scale: 7}, value: at, want: at, name: "DATETIME2"},
		{t: sqltype.Type{Kind: sqltype.DateTime2, Scale: 3}, value: at, want: at.Truncate(time.Millisecond), name: "DATETIME2"},
		{t: sqltype.Type{Kind: sqltype.DateTimeOffset, Scale: 7}, value: at.In(time.FixedZone("", -5*3600-1800)), want: at.In(time.FixedZone("", -5*3600-1800)), name: "DATETIMEOFFSET"},
		{t: sqltype.Type{Kind: sqltype.DateTime}, value: time.Date(1753, 1, 1, 0, 0, 0, 0, time.UTC), want: time.Date(1753, 1, 1, 0, 0, 0, 0, time.UTC), name: "DATETIME"},
		{t: sqltype.Type{Kind: sqltype.DateTime}, value: time.Date(2026, 12, 31, 23, 59, 59, 999000000, time.UTC), want: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), name: "DATETIME"},
		{t: sqltype.Type{Kind: sqltype.SmallDateTime}, value: time.Date(2079, 6, 6, 23, 59, 0, 0, time.UTC), want: time.Date(2079, 6, 6, 23, 59, 0, 0, time.UTC), name: "SMALLDATETIME"},
		{t: sqltype.Type{Kind: sqltype.UniqueIdentifier}, value: guid, want: []byte{0xFF, 0x19, 0x96, 0x6F, 0x86, 0x8B, 0x11, 0xD0, 0xB4, 0x2D, 0x00, 0xC0, 0x4F, 0xC9, 0x64, 0xFF}, name: "UNIQUEIDENTIFIER"},
		{value: nil, want: nil, name: "INT"},
	}
	f := fixed{}
	values, nulls := make([]any, len(columns)), make([]any, len(columns))
	for i, c := range columns {
		f.columns = append(f.columns, sqltype.Column{Name: "c", Type: c.t, Nullable: true})
		values[i] = c.value
	}
	half := append([]any{}, values...)
	for i := range half {
		if i%2 == 0 {
			half[i] = nil
		}
	}
	f.rows = [][]any{values, nulls, half}
	s := start(t, func(o *tds.Options) { o.Backend = f })
	result, err := s.connect(t).QueryContext(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = result.Close() }()
	types, err := result.ColumnTypes()
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range columns {
		if types[i].DatabaseTypeName() != c.name {
			t.Errorf("column %d: %s, not %s", i, types[i].DatabaseTypeName(), c.name)
		}
		if length, ok := types[i].Length(); ok && c.length != 0 && length != c.length {
			t.Errorf("column %d: length %d, not %d", i, length, c.length)
		}
		if precision, scale, ok := types[i].DecimalSize(); ok && c.prec != 0 && (precision != c.prec || scale != c.size) {
			t.Errorf("column %d: decimal(%d,%d)", i, precision, scale)
		}
	}
	for row, want := range [][]any{values, nulls, half} {
		if !result.Next() {
			t.Fatal(result.Err())
		}
		got, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range got {
			into[i] = &got[i]
		}
		if err := result.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for i, c := range columns {
			expected := c.want
			if want[i] == nil {
				expected = nil
			}
			if reflect.DeepEqual(expected, got[i]) {
				continue // go-cmp takes its time over long values
			}
			if diff := cmp.Diff(expected, got[i]); diff != "" {
				t.Errorf("row %d, column %d (%s): -want +got\n%s", row, i, c.name, diff)
			}
		}
	}
}
