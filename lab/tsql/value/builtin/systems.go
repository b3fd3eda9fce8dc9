package builtin

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tsql/value"
)

// systems are the functions that belong nowhere else.
var systems = map[string]function{
	"NEWID": {call: func(a *arguments) (any, error) {
		var g sqltype.GUID
		if _, err := io.ReadFull(a.rt.random, g[:]); err != nil {
			return nil, fmt.Errorf("reading random bytes: %w", err)
		}
		g[6], g[8] = g[6]&0x0F|0x40, g[8]&0x3F|0x80
		return g, nil
	}},
	"RAND": {call: func(a *arguments) (any, error) {
		var b [8]byte
		if _, err := io.ReadFull(a.rt.random, b[:]); err != nil {
			return nil, fmt.Errorf("reading random bytes: %w", err)
		}
		return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53), nil
	}},
	"CRYPT_GEN_RANDOM": {call: func(a *arguments) (any, error) {
		if a.int(0) < 1 || a.int(0) > 8000 {
			return nil, nil
		}
		b := make([]byte, a.int(0))
		if _, err := io.ReadFull(a.rt.random, b); err != nil {
			return nil, fmt.Errorf("reading random bytes: %w", err)
		}
		return b, nil
	}},
	"HASHBYTES": {call: func(a *arguments) (any, error) {
		data, err := value.Convert(a.vals[1], a.types[1], sqltype.Type{Kind: sqltype.VarBinary, Length: sqltype.Max})
		if err != nil {
			return nil, err
		}
		b, _ := data.([]byte)
		switch strings.ToUpper(a.text(0)) {
		case "MD5":
			s := md5.Sum(b)
			return s[:], nil
		case "SHA", "SHA1":
			s := sha1.Sum(b)
			return s[:], nil
		case "SHA2_256":
			s := sha256.Sum256(b)
			return s[:], nil
		case "SHA2_512":
			s := sha512.Sum512(b)
			return s[:], nil
		default:
			return nil, nil
		}
	}},
	"ISNUMERIC": {call: func(a *arguments) (any, error) {
		for _, t := range []sqltype.Type{value.Float, value.Money} {
			s := strings.TrimSpace(a.text(0))
			switch s {
			case "":
				return int64(0), nil
			case "+", "-", ".", ",": // not numbers, but parts of one
				return int64(1), nil
			}
			if _, err := value.Convert(s, a.types[0], t); err == nil {
				return int64(1), nil
			}
		}
		return int64(0), nil
	}},
	// fail(text, number): raises an error from within a statement.
	"fail": {nulls: true, call: func(a *arguments) (any, error) {
		return nil, value.Errorf(int32(a.int(1)), "%s", a.text(0))
	}},
}
