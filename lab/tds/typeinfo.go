package tds

import (
	"encoding/binary"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

// The data types on the wire.
// Source: MS-TDS 2.2.5.4
const (
	typeNull           = 0x1F
	typeImage          = 0x22
	typeText           = 0x23
	typeGUID           = 0x24
	typeLegacyVarBin   = 0x25
	typeIntN           = 0x26
	typeLegacyVarChar  = 0x27
	typeDate           = 0x28
	typeTime           = 0x29
	typeDateTime2      = 0x2A
	typeDateTimeOffset = 0x2B
	typeLegacyBinary   = 0x2D
	typeLegacyChar     = 0x2F
	typeInt1           = 0x30
	typeBit            = 0x32
	typeInt2           = 0x34
	typeLegacyDecimal  = 0x37
	typeInt4           = 0x38
	typeDateTime4      = 0x3A
	typeFloat4         = 0x3B
	typeMoney          = 0x3C
	typeDateTime       = 0x3D
	typeFloat8         = 0x3E
	typeLegacyNumeric  = 0x3F
	typeVariant        = 0x62
	typeNText          = 0x63
	typeBitN           = 0x68
	typeDecimalN       = 0x6A
	typeNumericN       = 0x6C
	typeFloatN         = 0x6D
	typeMoneyN         = 0x6E
	typeDateTimeN      = 0x6F
	typeMoney4         = 0x7A
	typeInt8           = 0x7F
	typeVarBinary      = 0xA5
	typeVarChar        = 0xA7
	typeBinary         = 0xAD
	typeChar           = 0xAF
	typeNVarChar       = 0xE7
	typeNChar          = 0xEF
	typeUDT            = 0xF0
	typeXML            = 0xF1
	typeTable          = 0xF3
	typeJSON           = 0xF4
	typeVector         = 0xF5
)

const (
	maxBytes       = 8000   // of varchar, char, varbinary and binary
	maxCharacters  = 4000   // of nvarchar and nchar
	partialLength  = 0xFFFF // the length of a (max) type
	nullLength     = 0xFFFF // of a character or binary value
	maxPrecision   = 38
	maxTimeScale   = 7
	defaultScale   = 7
	moneyScale     = 4
	maxColumnCount = 4096
)

// appendTypeInfo appends a TYPE_INFO.
// Source: MS-TDS 2.2.5.6
func appendTypeInfo(b []byte, t sqltype.Type) []byte {
	switch t.Kind {
	case sqltype.Bit:
		return append(b, typeBitN, 1)
	case sqltype.TinyInt:
		return append(b, typeIntN, 1)
	case sqltype.SmallInt:
		return append(b, typeIntN, 2)
	case sqltype.BigInt:
		return append(b, typeIntN, 8)
	case sqltype.Decimal:
		precision := decimalPrecision(t)
		return append(b, typeDecimalN, byte(decimalSize(precision)), precision, t.Scale)
	case sqltype.Money:
		return append(b, typeMoneyN, 8)
	case sqltype.SmallMoney:
		return append(b, typeMoneyN, 4)
	case sqltype.Real:
		return append(b, typeFloatN, 4)
	case sqltype.Float:
		return append(b, typeFloatN, 8)
	case sqltype.Date:
		return append(b, typeDate)
	case sqltype.Time:
		return append(b, typeTime, timeScale(t))
	case sqltype.DateTime2:
		return append(b, typeDateTime2, timeScale(t))
	case sqltype.DateTimeOffset:
		return append(b, typeDateTimeOffset, timeScale(t))
	case sqltype.DateTime:
		return append(b, typeDateTimeN, 8)
	case sqltype.SmallDateTime:
		return append(b, typeDateTimeN, 4)
	case sqltype.UniqueIdentifier:
		return append(b, typeGUID, 16)
	case sqltype.Char, sqltype.VarChar, sqltype.NChar, sqltype.NVarChar, sqltype.Binary, sqltype.VarBinary:
		return appendStringInfo(b, t)
	default: // Int, and Unknown: SELECT NULL is an int
		return append(b, typeIntN, 4)
	}
}

func appendStringInfo(b []byte, t sqltype.Type) []byte {
	id, unit := byte(typeVarBinary), 1
	switch t.Kind {
	case sqltype.Char:
		id = typeChar
	case sqltype.VarChar:
		id = typeVarChar
	case sqltype.NChar:
		id, unit = typeNChar, 2
	case sqltype.NVarChar:
		id, unit = typeNVarChar, 2
	case sqltype.Binary:
		id = typeBinary
	default:
	}
	length := partialLength
	if isPartial(t) {
		id = partialID(id)
	} else {
		length = max(t.Length, 1) * unit
	}
	b = binary.LittleEndian.AppendUint16(append(b, id), uint16(length)) //nolint:gosec // at most 8000, or partialLength
	if id == typeVarBinary || id == typeBinary {
		return b
	}
	c := serverCollation()
	return append(b, c[:]...)
}

// partialID is the variable type of a fixed one: only those can be long.
func partialID(id byte) byte {
	switch id {
	case typeChar:
		return typeVarChar
	case typeNChar:
		return typeNVarChar
	case typeBinary:
		return typeVarBinary
	}
	return id
}

// isPartial reports whether a type's values go in chunks: it is a (max) type.
func isPartial(t sqltype.Type) bool {
	switch t.Kind {
	case sqltype.Char, sqltype.VarChar, sqltype.Binary, sqltype.VarBinary:
		return t.Length < 0 || t.Length > maxBytes
	case sqltype.NChar, sqltype.NVarChar:
		return t.Length < 0 || t.Length > maxCharacters
	default:
		return false
	}
}

func timeScale(t sqltype.Type) byte { return min(t.Scale, maxTimeScale) }

func decimalPrecision(t sqltype.Type) byte {
	if t.Precision == 0 || t.Precision > maxPrecision {
		return maxPrecision
	}
	return t.Precision
}

// decimalSize is the size of a decimal: a sign and the magnitude.
// Source: MS-TDS 2.2.5.5.1.6
func decimalSize(precision byte) int {
	switch {
	case precision <= 9:
		return 5
	case precision <= 19:
		return 9
	case precision <= 28:
		return 13
	}
	return 17
}

// timeSize is the size of a time of day with a scale.
// Source: MS-TDS 2.2.5.5.1.8
func timeSize(scale byte) int {
	switch {
	case scale <= 2:
		return 3
	case scale <= 4:
		return 4
	}
	return 5
}

// wireType is the type of a parameter: how its value lies in the stream, and
// what it is.
type wireType struct {
	id   byte
	size int // the longest value, in bytes
	sqltype.Type
	collation collation
}

// readTypeInfo reads a TYPE_INFO. A type that the server does not take is a
// sqltype.Message.
func readTypeInfo(s *scanner) (wireType, error) {
	w := wireType{id: s.u8()}
	if s.err != nil {
		return w, s.err
	}
	if w.fixed() {
		return w, nil
	}
	switch w.id {
	case typeIntN, typeBitN, typeFloatN, typeMoneyN, typeDateTimeN, typeGUID:
		w.size = int(s.u8())
		return w, w.sized(s)
	case typeDecimalN, typeNumericN:
		w.size = int(s.u8())
		w.Kind, w.Precision, w.Scale = sqltype.Decimal, s.u8(), s.u8()
		if s.err == nil && (w.Precision == 0 || w.Precision > maxPrecision || w.Scale > w.Precision || w.size > decimalSize(maxPrecision)) {
			return w, malformed("decimal(%d, %d) in %d bytes", w.Precision, w.Scale, w.size)
		}
		return w, s.err
	case typeDate:
		w.Kind, w.size = sqltype.Date, 3
		return w, nil
	case typeTime, typeDateTime2, typeDateTimeOffset:
		return w, w.scaled(s)
	case typeChar, typeVarChar, typeNChar, typeNVarChar, typeBinary, typeVarBinary:
		return w, w.text(s)
	case typeText, typeNText, typeImage:
		return w, w.legacyText(s)
	}
	return w, refuseType(w.id)
}

// fixedTypes are the types whose values have no length.
var fixedTypes = map[byte]wireType{
	typeNull: {}, typeInt1: {size: 1, Type: sqltype.Type{Kind: sqltype.TinyInt}}, typeBit: {size: 1, Type: sqltype.Type{Kind: sqltype.Bit}},
	typeInt2: {size: 2, Type: sqltype.Type{Kind: sqltype.SmallInt}}, typeInt4: {size: 4, Type: sqltype.Type{Kind: sqltype.Int}},
	typeInt8: {size: 8, Type: sqltype.Type{Kind: sqltype.BigInt}}, typeFloat4: {size: 4, Type: sqltype.Type{Kind: sqltype.Real}},
	typeFloat8: {size: 8, Type: sqltype.Type{Kind: sqltype.Float}}, typeMoney: {size: 8, Type: sqltype.Type{Kind: sqltype.Money}},
	typeMoney4: {size: 4, Type: sqltype.Type{Kind: sqltype.SmallMoney}}, typeDateTime: {size: 8, Type: sqltype.Type{Kind: sqltype.DateTime}},
	typeDateTime4: {size: 4, Type: sqltype.Type{Kind: sqltype.SmallDateTime}},
}

// fixed sets the type when its values have no length.
func (w *wireType) fixed() bool {
	found, ok := fixedTypes[w.id]
	if ok {
		w.Kind, w.size = found.Kind, found.size
		w.measure()
	}
	return ok
}

// measure fills in the precision and scale that a kind has.
func (w *wireType) measure() {
	switch w.Kind {
	case sqltype.Real:
		w.Precision = 24
	case sqltype.Float:
		w.Precision = 53
	case sqltype.Money, sqltype.SmallMoney:
		w.Scale = moneyScale
	default:
	}
}

// sizedType is a type that is told by its size.
type sizedType struct {
	id   byte
	size int
}

var sizedTypes = map[sizedType]sqltype.Kind{
	{typeIntN, 1}: sqltype.TinyInt, {typeIntN, 2}: sqltype.SmallInt, {typeIntN, 4}: sqltype.Int, {typeIntN, 8}: sqltype.BigInt,
	{typeBitN, 1}: sqltype.Bit, {typeFloatN, 4}: sqltype.Real, {typeFloatN, 8}: sqltype.Float,
	{typeMoneyN, 4}: sqltype.SmallMoney, {typeMoneyN, 8}: sqltype.Money,
	{typeDateTimeN, 4}: sqltype.SmallDateTime, {typeDateTimeN, 8}: sqltype.DateTime, {typeGUID, 16}: sqltype.UniqueIdentifier,
}

// sized sets the kind of a type that is told by its size.
func (w *wireType) sized(s *scanner) error {
	kind, ok := sizedTypes[sizedType{w.id, w.size}]
	if !ok && s.err == nil {
		return malformed("a parameter of type 0x%02X with %d bytes", w.id, w.size)
	}
	w.Kind = kind
	w.measure()
	return s.err
}

func (w *wireType) scaled(s *scanner) error {
	w.Scale = s.u8()
	if w.Scale > maxTimeScale {
		return malformed("a time with %d digits", w.Scale)
	}
	w.size = timeSize(w.Scale)
	switch w.id {
	case typeTime:
		w.Kind = sqltype.Time
	case typeDateTime2:
		w.Kind, w.size = sqltype.DateTime2, w.size+3
	case typeDateTimeOffset:
		w.Kind, w.size = sqltype.DateTimeOffset, w.size+5
	}
	return s.err
}

func (w *wireType) text(s *scanner) error {
	w.size = int(s.u16())
	unit := 1
	switch w.id {
	case typeChar:
		w.Kind = sqltype.Char
	case typeVarChar:
		w.Kind = sqltype.VarChar
	case typeNChar:
		w.Kind, unit = sqltype.NChar, 2
	case typeNVarChar:
		w.Kind, unit = sqltype.NVarChar, 2
	case typeBinary:
		w.Kind = sqltype.Binary
	case typeVarBinary:
		w.Kind = sqltype.VarBinary
	}
	if w.id != typeBinary && w.id != typeVarBinary {
		copy(w.collation[:], s.take(len(w.collation)))
	}
	if w.size == partialLength {
		w.Length = sqltype.Max
		return s.err
	}
	if w.size > maxBytes {
		return malformed("a parameter of %d bytes", w.size)
	}
	w.Length = max(w.size/unit, 1)
	return s.err
}

// legacyText reads text, ntext and image, which are taken as the (max) types
// that replaced them.
func (w *wireType) legacyText(s *scanner) error {
	s.u32()
	w.Length = sqltype.Max
	switch w.id {
	case typeText:
		w.Kind = sqltype.VarChar
	case typeNText:
		w.Kind = sqltype.NVarChar
	case typeImage:
		w.Kind = sqltype.VarBinary
		return s.err
	}
	copy(w.collation[:], s.take(len(w.collation)))
	return s.err
}

// refuseType is the error for a type that parameters cannot have here.
func refuseType(id byte) error {
	names := map[byte]string{
		typeVariant: "parameter of type sql_variant", typeUDT: "parameter of a CLR user-defined type", typeXML: "parameter of type xml",
		typeTable: "table-valued parameter", typeJSON: "parameter of type json", typeVector: "parameter of type vector",
		typeLegacyDecimal: "parameter of a decimal type of TDS 4.2", typeLegacyNumeric: "parameter of a numeric type of TDS 4.2",
		typeLegacyChar: "parameter of a char type of TDS 4.2", typeLegacyVarChar: "parameter of a varchar type of TDS 4.2",
		typeLegacyBinary: "parameter of a binary type of TDS 4.2", typeLegacyVarBin: "parameter of a varbinary type of TDS 4.2",
	}
	if name, ok := names[id]; ok {
		return unsupported(name)
	}
	return malformed("data type 0x%02X is unknown", id)
}
