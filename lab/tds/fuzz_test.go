package tds

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/sqltype"
)

func packetsOf(kind packetType, body []byte) []byte {
	var out bytes.Buffer
	w := newPacketWriter(&out, kind, minPacketSize)
	w.buf = append(w.buf, body...)
	_ = w.finish()
	return out.Bytes()
}

func TestPackets(t *testing.T) {
	for _, length := range []int{0, 1, minPacketSize - headerSize, minPacketSize - headerSize + 1, 3 * (minPacketSize - headerSize), 100_000} {
		body := bytes.Repeat([]byte{7}, length)
		reader := packetReader{r: bytes.NewReader(packetsOf(packetBatch, body)), limit: 1 << 20}
		got, err := reader.next()
		if err != nil || got.kind != packetBatch || !bytes.Equal(got.body, body) {
			t.Errorf("%d bytes come back as %d of type %d: %v", length, len(got.body), got.kind, err)
		}
	}
	reader := packetReader{r: bytes.NewReader(packetsOf(packetBatch, make([]byte, 2000))), limit: 1999}
	var broken *ProtocolError
	if _, err := reader.next(); !errors.As(err, &broken) {
		t.Errorf("a message above the limit: %v", err)
	}
}

// FuzzPackets: whatever comes, reading ends, and a message is no longer than
// what came.
func FuzzPackets(f *testing.F) {
	f.Add(packetsOf(packetBatch, make([]byte, 1500)))
	f.Add(packetsOf(packetAttention, nil))
	f.Add([]byte{1, 3, 0, 8, 0, 0, 1, 0})
	f.Add([]byte{1, 1, 0, 7, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		reader := packetReader{r: bytes.NewReader(data), limit: 1 << 16}
		for total := 0; ; {
			m, err := reader.next()
			if err != nil {
				return
			}
			if total += len(m.body) + headerSize; total > len(data) {
				t.Fatalf("%d bytes of messages in %d", total, len(data))
			}
		}
	})
}

// FuzzPrelogin: what is read can be answered, and the answer read again.
func FuzzPrelogin(f *testing.F) {
	f.Add(preloginReply(prelogin{fedAuthPresent: true, fedAuth: 1}, AzureVersion(), encryptOn))
	f.Add([]byte{0, 0, 6, 0, 6, 0xFF, 1, 2, 3, 4, 5, 6})
	f.Add([]byte{optionEncryption, 0xFF, 0xFF, 0xFF, 0xFF, optionTerminator})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePrelogin(data)
		if err != nil {
			return
		}
		again, err := parsePrelogin(preloginReply(p, AzureVersion(), p.encryption))
		if err != nil || again.encryption != p.encryption&^encryptClientCertificate || again.fedAuth != p.fedAuth || again.mars {
			t.Fatalf("%+v is answered with %+v, %v", p, again, err)
		}
	})
}

// newLogin makes LOGIN7 as clients do.
func newLogin(user, password, database string, extension []byte) []byte {
	body := make([]byte, loginFixed)
	binary.LittleEndian.PutUint32(body[4:], tdsVersion74)
	binary.LittleEndian.PutUint32(body[8:], 8000)
	put := func(at int, text []byte, unit int) {
		binary.LittleEndian.PutUint16(body[at:], uint16(len(body)))
		binary.LittleEndian.PutUint16(body[at+2:], uint16(len(text)/unit))
		body = append(body, text...)
	}
	put(loginUserName, appendUTF16(nil, user), 2)
	scrambled := appendUTF16(nil, password)
	for i, c := range scrambled {
		scrambled[i] = (c<<4 | c>>4) ^ passwordScramble
	}
	put(loginPassword, scrambled, 2)
	put(loginDatabase, appendUTF16(nil, database), 2)
	if extension != nil {
		body[loginOptionFlags3] |= flagExtension
		put(loginExtension, binary.LittleEndian.AppendUint32(nil, uint32(len(body)+4)), 1)
		body = append(body, extension...)
	}
	binary.LittleEndian.PutUint32(body, uint32(len(body)))
	return body
}

func tokenFeature(token string) []byte {
	raw := appendUTF16(nil, token)
	data := append(binary.LittleEndian.AppendUint32([]byte{byte(fedAuthSecurityToken)<<1 | 1}, uint32(len(raw))), raw...)
	feature := append(binary.LittleEndian.AppendUint32([]byte{featureFedAuth}, uint32(len(data))), data...)
	return append(feature, featureUTF8Support, 0, 0, 0, 0, featureTerminator)
}

// FuzzLogin: LOGIN7 with FeatureExt.
func FuzzLogin(f *testing.F) {
	f.Add(newLogin("sa", "pass", "db", nil))
	f.Add(newLogin("", "", "db", tokenFeature("a.b.c")))
	f.Add(newLogin("ü", "𝄞", "", []byte{featureFedAuth, 2, 0, 0, 0, byte(fedAuthADAL) << 1, 1, featureTerminator}))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseLogin(data)
		if err != nil {
			var broken *ProtocolError
			if !errors.As(err, &broken) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if size := l.packetSize(); size < minPacketSize || size > maxPacketSize {
			t.Fatalf("packets of %d bytes", size)
		}
		appendFeatureAck(nil, &l)
	})
}

// FuzzFeatures: FeatureExt by itself, and the token message of ADAL clients.
func FuzzFeatures(f *testing.F) {
	f.Add(tokenFeature("a.b.c"))
	f.Add([]byte{featureFedAuth, 0xFF, 0xFF, 0xFF, 0xFF})
	f.Add([]byte{featureTerminator})
	f.Fuzz(func(t *testing.T, data []byte) {
		features, err := parseFeatures(data)
		if err == nil && len(features) > len(data)/5 {
			t.Fatalf("%d features in %d bytes", len(features), len(data))
		}
		for _, each := range features {
			_, _ = parseFedAuthFeature(each.data)
		}
		if token, err := parseFedAuthToken(data); err == nil && token == "" {
			t.Fatal("an empty token is none")
		}
	})
}

func TestLoginMessage(t *testing.T) {
	l, err := parseLogin(newLogin("sa@srv", "pä55", "db", tokenFeature("a.b.c")))
	if err != nil {
		t.Fatal(err)
	}
	want := Login{User: "sa@srv", Password: "pä55", Database: "db", Token: "a.b.c", TDSVersion: tdsVersion74}
	if diff := cmp.Diff(want, l.Login); diff != "" || !l.has(featureUTF8Support) || !l.fedAuth.echo || l.packetSize() != 8000 {
		t.Errorf("-want +got\n%s%+v", diff, l)
	}
}

func headers() []byte {
	return []byte{22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}
}

// newCall makes a call as clients do, with our own writer of types and values.
func newCall(t testing.TB, number int, params ...sqltype.Param) []byte {
	t.Helper()
	b := append(headers(), 0xFF, 0xFF, byte(number), 0, 0, 0)
	for _, p := range params {
		b = appendText8(b, p.Name)
		b = append(b, boolByte(p.Output)*paramByReference)
		b = appendTypeInfo(b, p.Type)
		var err error
		if b, err = appendValue(b, p.Type, p.Value); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func allParams() []sqltype.Param {
	number := func(v int64, scale uint8) sqltype.Number {
		return sqltype.Number{Unscaled: big.NewInt(v), Scale: scale}
	}
	at := time.Date(2026, 11, 24, 13, 45, 59, 123456700, time.UTC)
	params := []sqltype.Param{
		{Type: sqltype.Type{Kind: sqltype.Bit}, Value: true},
		{Type: sqltype.Type{Kind: sqltype.TinyInt}, Value: int64(200)},
		{Type: sqltype.Type{Kind: sqltype.SmallInt}, Value: int64(-300)},
		{Type: sqltype.Type{Kind: sqltype.Int}, Value: int64(math.MaxInt32)},
		{Type: sqltype.Type{Kind: sqltype.BigInt}, Value: int64(math.MinInt64)},
		{Type: sqltype.Type{Kind: sqltype.Decimal, Precision: 38, Scale: 10}, Value: number(-12345, 10)},
		{Type: sqltype.Type{Kind: sqltype.Decimal, Precision: 9, Scale: 0}, Value: number(999999999, 0)},
		{Type: sqltype.Type{Kind: sqltype.Money, Scale: 4}, Value: number(-1, 4)},
		{Type: sqltype.Type{Kind: sqltype.SmallMoney, Scale: 4}, Value: number(math.MinInt32, 4)},
		{Type: sqltype.Type{Kind: sqltype.Real, Precision: 24}, Value: float64(float32(0.1))},
		{Type: sqltype.Type{Kind: sqltype.Float, Precision: 53}, Value: 0.1},
		{Type: sqltype.Type{Kind: sqltype.Char, Length: 3}, Value: "é€ "},
		{Type: sqltype.Type{Kind: sqltype.VarChar, Length: 10}, Value: ""},
		{Type: sqltype.Type{Kind: sqltype.VarChar, Length: sqltype.Max}, Value: "€"},
		{Type: sqltype.Type{Kind: sqltype.NChar, Length: 2}, Value: "𝄞"},
		{Type: sqltype.Type{Kind: sqltype.NVarChar, Length: 4000}, Value: "日本語"},
		{Type: sqltype.Type{Kind: sqltype.NVarChar, Length: sqltype.Max}, Value: ""},
		{Type: sqltype.Type{Kind: sqltype.Binary, Length: 2}, Value: []byte{0, 1}},
		{Type: sqltype.Type{Kind: sqltype.VarBinary, Length: 20}, Value: []byte{1}},
		{Type: sqltype.Type{Kind: sqltype.VarBinary, Length: sqltype.Max}, Value: bytes.Repeat([]byte{9}, 3*maxChunk/2)},
		{Type: sqltype.Type{Kind: sqltype.Date}, Value: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)},
		{Type: sqltype.Type{Kind: sqltype.Time, Scale: 2}, Value: sqltype.Zero().Add(23*time.Hour + 990*time.Millisecond)},
		{Type: sqltype.Type{Kind: sqltype.DateTime}, Value: time.Date(1900, 1, 1, 0, 0, 0, 997000000, time.UTC)},
		{Type: sqltype.Type{Kind: sqltype.SmallDateTime}, Value: time.Date(2000, 2, 29, 23, 59, 0, 0, time.UTC)},
		{Type: sqltype.Type{Kind: sqltype.DateTime2, Scale: 7}, Value: at},
		{Type: sqltype.Type{Kind: sqltype.DateTimeOffset, Scale: 7}, Value: at.In(time.FixedZone("", -330*60))},
		{Type: sqltype.Type{Kind: sqltype.UniqueIdentifier}, Value: sqltype.GUID{1, 2, 3, 4, 5, 6, 7, 8, 9}},
	}
	for _, p := range params[:len(params):len(params)] {
		params = append(params, sqltype.Param{Name: "@null", Type: p.Type, Output: true})
	}
	return params
}

func TestParamsRoundTrip(t *testing.T) {
	params := allParams()
	calls, err := parseCalls(newCall(t, 10, params...))
	if err != nil || len(calls) != 1 || calls[0].Procedure != "sp_executesql" {
		t.Fatal(calls, err)
	}
	if len(calls[0].Params) != len(params) {
		t.Fatalf("%d of %d parameters", len(calls[0].Params), len(params))
	}
	bigs := cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })
	for i, want := range params {
		if reflect.DeepEqual(want, calls[0].Params[i]) {
			continue // go-cmp takes its time over long values
		}
		if diff := cmp.Diff(want, calls[0].Params[i], bigs); diff != "" {
			t.Errorf("parameter %d: -want +got\n%s", i, diff)
		}
	}
	t.Run("several calls in one request", func(t *testing.T) {
		two := append(newCall(t, 12, params[0]), nextCall)
		two = append(two, newCall(t, 15, params[3], params[4])[len(headers()):]...)
		calls, err := parseCalls(two)
		if err != nil || len(calls) != 2 || calls[0].Procedure != "sp_execute" || calls[1].Procedure != "sp_unprepare" || len(calls[1].Params) != 2 {
			t.Errorf("%+v, %v", calls, err)
		}
	})
	t.Run("text, ntext and image", func(t *testing.T) {
		b := append(headers(), 1, 0, 'p', 0, 0, 0)
		collation := serverCollation()
		b = append(append(append(b, 0, 0, typeText, 0xFF, 0xFF, 0xFF, 0x7F), collation[:]...), 1, 0, 0, 0, 0x80)
		b = append(append(append(b, 0, 0, typeNText, 0xFF, 0xFF, 0xFF, 0x7F), collation[:]...), 2, 0, 0, 0, 0xAC, 0x20)
		b = append(b, 0, 0, typeImage, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF)
		calls, err := parseCalls(b)
		if err != nil {
			t.Fatal(err)
		}
		got := []any{calls[0].Procedure, calls[0].Params[0].Value, calls[0].Params[1].Value, calls[0].Params[2].Value}
		if diff := cmp.Diff([]any{"p", "€", "€", nil}, got); diff != "" {
			t.Error(diff)
		}
	})
	for id, name := range map[byte]string{typeTable: "table-valued parameter", typeXML: "xml", typeUDT: "CLR", typeVariant: "sql_variant"} {
		t.Run("refused by name: "+name, func(t *testing.T) {
			_, err := parseCalls(append(headers(), 1, 0, 'p', 0, 0, 0, 0, 0, id))
			var m sqltype.Message
			if !errors.As(err, &m) || m.Number != numberUnsupported || !bytes.Contains([]byte(m.Text), []byte(name)) {
				t.Errorf("%v", err)
			}
		})
	}
}

// FuzzCalls: a call that can be read has values that can be sent.
func FuzzCalls(f *testing.F) {
	for _, p := range allParams() {
		if p.Type.Length == sqltype.Max && p.Type.Kind == sqltype.VarBinary {
			p.Value = []byte{1}
		}
		f.Add(newCall(f, 10, p))
	}
	f.Add(append(headers(), 1, 0, 'p', 0, 0, 0, 0, 0, typeVarChar, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0, 'x', 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		calls, err := parseCalls(data)
		if err != nil {
			var broken *ProtocolError
			var m sqltype.Message
			if !errors.As(err, &broken) && !errors.As(err, &m) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for _, call := range calls {
			for _, p := range call.Params {
				if _, err := appendValue(appendTypeInfo(nil, p.Type), p.Type, p.Value); err != nil {
					t.Fatalf("%+v: %v", p, err)
				}
			}
		}
	})
}

// FuzzRequests: batches and transaction manager requests.
func FuzzRequests(f *testing.F) {
	f.Add(append(headers(), 's', 0))
	f.Add(append(headers(), requestBegin, 0, 2, 2, 't', 0))
	f.Add(append(headers(), requestCommit, 0, 0, 1, 0, 0))
	f.Add(append(headers(), requestPromote, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		if text, err := parseBatch(data); err == nil && len(text) > 2*len(data) {
			t.Fatalf("%d bytes of text in %d", len(text), len(data))
		}
		if r, err := parseTransaction(data); err == nil && r.Kind == 0 {
			t.Fatalf("%+v", r)
		}
	})
}
