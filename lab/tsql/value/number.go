package value

import (
	"math/big"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// pow10 has the powers of ten that decimals need: scales up to 38 meet in a
// multiplication, and once more in a division.
var pow10 = func() [120]*big.Int {
	var p [120]*big.Int
	p[0] = big.NewInt(1)
	for i := 1; i < len(p); i++ {
		p[i] = new(big.Int).Mul(p[i-1], big.NewInt(10))
	}
	return p
}()

// rescale is a number of one scale in another, rounded half away from zero.
func rescale(u *big.Int, from, to uint8) *big.Int {
	switch {
	case from == to:
		return u
	case from < to:
		return new(big.Int).Mul(u, pow10[to-from])
	default:
		return divRound(u, pow10[from-to])
	}
}

// divRound is n/d, rounded half away from zero; d is positive.
func divRound(n, d *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(n, d, new(big.Int))
	r.Abs(r).Lsh(r, 1)
	if r.Cmp(d) >= 0 {
		if n.Sign() < 0 {
			return q.Sub(q, pow10[0])
		}
		return q.Add(q, pow10[0])
	}
	return q
}

// divTrunc is n/d without the rest.
func divTrunc(n, d *big.Int) *big.Int { return new(big.Int).Quo(n, d) }

// fits says whether a number has at most so many digits.
func fits(u *big.Int, digits uint8) bool { return u.CmpAbs(pow10[digits]) < 0 }

// fit is a number in a decimal type, or error 8115.
func fit(n sqltype.Number, what string, to sqltype.Type) (sqltype.Number, error) {
	u := rescale(n.Unscaled, n.Scale, to.Scale)
	if !fits(u, to.Precision) {
		return n, overflowTo(what, to)
	}
	return sqltype.Number{Unscaled: u, Scale: to.Scale}, nil
}

// DecimalResult is the type of an operation on two decimals.
// Source: https://learn.microsoft.com/sql/t-sql/data-types/precision-scale-and-length-transact-sql
func DecimalResult(op byte, a, b sqltype.Type) sqltype.Type {
	p1, s1, p2, s2 := int(a.Precision), int(a.Scale), int(b.Precision), int(b.Scale)
	var p, s int
	switch op {
	case '*':
		p, s = p1+p2+1, s1+s2
	case '/':
		s = max(6, s1+p2+1)
		p = p1 - s1 + s2 + s
	case '%':
		s = max(s1, s2)
		p = min(p1-s1, p2-s2) + s
	default:
		s = max(s1, s2)
		p = s + max(p1-s1, p2-s2) + 1
	}
	if p > 38 {
		whole := p - s
		switch {
		case op == '+' || op == '-':
			// The carry's digit gives way first.
			s = max(0, min(s, 38-min(whole-1, 38)))
		case whole > 32:
			s = min(s, 6)
		default:
			s = 38 - whole
		}
		p = 38
	}
	return DecimalOf(p, s)
}

// Calculate is a op b of decimals, in the type that DecimalResult gives.
func Calculate(op byte, a, b sqltype.Number, to sqltype.Type) (sqltype.Number, error) {
	switch op {
	case '*':
		n := sqltype.Number{Unscaled: new(big.Int).Mul(a.Unscaled, b.Unscaled), Scale: a.Scale + b.Scale}
		return fitResult(n, to)
	case '/':
		if b.Unscaled.Sign() == 0 {
			return a, DivideByZero()
		}
		return divide(a, b, to)
	}
	s := max(a.Scale, b.Scale)
	l, r := rescale(a.Unscaled, a.Scale, s), rescale(b.Unscaled, b.Scale, s)
	u := new(big.Int)
	switch op {
	case '+':
		u.Add(l, r)
	case '-':
		u.Sub(l, r)
	default:
		if r.Sign() == 0 {
			return a, DivideByZero()
		}
		u.Rem(l, r)
	}
	return fitResult(sqltype.Number{Unscaled: u, Scale: s}, to)
}

// divide cuts the quotient after the result's scale, as SQL Server does.
func divide(a, b sqltype.Number, to sqltype.Type) (sqltype.Number, error) {
	num, den := new(big.Int).Set(a.Unscaled), new(big.Int).Set(b.Unscaled)
	shift := int(to.Scale) + int(b.Scale) - int(a.Scale)
	if shift >= 0 {
		num.Mul(num, pow10[shift])
	} else {
		den.Mul(den, pow10[-shift])
	}
	return fitResult(sqltype.Number{Unscaled: divTrunc(num, den), Scale: to.Scale}, to)
}

func fitResult(n sqltype.Number, to sqltype.Type) (sqltype.Number, error) {
	return fit(n, "expression", to)
}

// CalculateMoney is a op b of money.
func CalculateMoney(op byte, a, b sqltype.Number, to sqltype.Type) (sqltype.Number, error) {
	l, r := rescale(a.Unscaled, a.Scale, 4), rescale(b.Unscaled, b.Scale, 4)
	u := new(big.Int)
	switch op {
	case '+':
		u.Add(l, r)
	case '-':
		u.Sub(l, r)
	case '*':
		u = divRound(u.Mul(l, r), pow10[4])
	default:
		if r.Sign() == 0 {
			return a, DivideByZero()
		}
		if op == '/' {
			u = divTrunc(u.Mul(l, pow10[4]), r)
		} else {
			u.Rem(l, r)
		}
	}
	return fitMoney(u, "expression", to)
}

// fitMoney is money of so many ten-thousandths, or error 8115.
func fitMoney(u *big.Int, what string, to sqltype.Type) (sqltype.Number, error) {
	n := sqltype.Number{Unscaled: u, Scale: 4}
	if !u.IsInt64() || to.Kind == sqltype.SmallMoney && int64(int32(u.Int64())) != u.Int64() {
		return n, overflowTo(what, to)
	}
	return n, nil
}

// Text is a number with all the digits of its scale.
func Text(n sqltype.Number) string {
	s := new(big.Int).Abs(n.Unscaled).String()
	for len(s) <= int(n.Scale) {
		s = "0" + s
	}
	if n.Scale > 0 {
		s = s[:len(s)-int(n.Scale)] + "." + s[len(s)-int(n.Scale):]
	}
	if n.Unscaled.Sign() < 0 {
		return "-" + s
	}
	return s
}
