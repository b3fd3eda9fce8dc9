package azure_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/lab/sqltype"
	"github.com/crosskeys/crosskeys/lab/tds"
	"github.com/crosskeys/crosskeys/sqlconn"
	"github.com/crosskeys/crosskeys/sqlconn/sqlconntest"
	"github.com/crosskeys/crosskeys/tde"
)

// signed is a credential that gives a token made of the scope it was asked for.
type signed struct{}

func (signed) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token for " + o.Scopes[0], ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func columns(kinds ...sqltype.Kind) []sqltype.Column {
	var list []sqltype.Column
	for _, kind := range kinds {
		c := sqltype.Column{Type: sqltype.Type{Kind: kind}, Nullable: true}
		switch kind {
		case sqltype.NVarChar, sqltype.VarBinary:
			c.Type.Length = 128
		case sqltype.DateTimeOffset:
			c.Type.Scale = 3
		case sqltype.Real:
			c.Type.Precision = 24
		default: // the others have no measures
		}
		list = append(list, c)
	}
	return list
}

// dmvs answers the three views as Azure does, in types and values.
type dmvs struct {
	keys, logs, geo [][]any
	refuse          map[string]sqltype.Message // by part of the statement
}

func (d dmvs) answer(_, text string, _ []sqltype.Param) sqlconntest.Reply {
	for part, message := range d.refuse {
		if strings.Contains(text, part) {
			return sqlconntest.Reply{Errors: []sqltype.Message{message}}
		}
	}
	const i, s, b, t = sqltype.Int, sqltype.NVarChar, sqltype.VarBinary, sqltype.DateTime
	switch {
	case strings.Contains(text, "sys.dm_database_encryption_keys"):
		return sqlconntest.Reply{Columns: columns(i, sqltype.SmallInt, i, s, s, b, s, i, sqltype.Real, i, s, t, t, t, t, t, t), Rows: d.keys}
	case strings.Contains(text, "sys.dm_db_log_info(DB_ID())"):
		return sqlconntest.Reply{Columns: columns(sqltype.BigInt, sqltype.Bit, b), Rows: d.logs}
	}
	return sqlconntest.Reply{Columns: columns(sqltype.UniqueIdentifier, s, s, sqltype.TinyInt, sqltype.TinyInt, i, sqltype.DateTimeOffset, sqltype.DateTimeOffset), Rows: d.geo}
}

var (
	wrapped = []byte{0xAB, 0xCD, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	before  = []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	at      = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
)

func encrypted(id, self int64) []any {
	return []any{id, self, int64(6), "PROTECTION_CHANGE_IN_PROGRESS", "ASYMMETRIC KEY", wrapped, "AES", int64(256), 12.5, int64(4), "COMPLETE", at, at, at, at, at, at}
}

func read(t *testing.T, server *sqlconntest.Server) (azure.DatabaseReading, error) {
	t.Helper()
	options := azure.SQLOptions(cloud.AzurePublic, signed{})
	options.RootCAs, options.Dial = server.RootCAs, server.Dial
	reader := &azure.SQLReader{Options: options, Limit: 3 * time.Second}
	return reader.ReadDatabase(t.Context(), tde.Server{Name: "srv-a", FQDN: "srv-a.database.windows.net", ResourceGroup: "rg", Subscription: "sub"}, "orders")
}

func TestADatabaseIsAskedWithSQL(t *testing.T) {
	link := sqltype.GUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	views := dmvs{
		keys: [][]any{encrypted(5, 5)},
		logs: [][]any{{int64(41), false, before}, {int64(42), true, before}, {int64(43), true, wrapped}, {int64(44), true, wrapped}, {int64(1), true, nil}},
		geo:  [][]any{{link, "srv-b", "orders", int64(0), int64(2), int64(0), at, at}, {link, "srv-c", "orders", int64(1), int64(1), nil, nil, nil}},
	}
	server := sqlconntest.Start(t, sqlconntest.Answers{Statement: views.answer})
	got, err := read(t, server)
	if err != nil {
		t.Fatal(err)
	}
	lag := 0
	want := azure.DatabaseReading{
		Encryption: &tde.EncryptionState{
			State: tde.StateProtectionChange, Description: "PROTECTION_CHANGE_IN_PROGRESS", EncryptorType: tde.EncryptorAsymmetricKey,
			Thumbprint: "ABCD030405060708090A0B0C0D0E0F1011121314", KeyAlgorithm: "AES", KeyLength: 256, Percent: 12.5, ScanState: 4, ScanDesc: "COMPLETE",
			ScanModifiedAt: &at, CreatedAt: &at, RegeneratedAt: &at, ModifiedAt: &at, SetAt: &at, OpenedAt: &at,
		},
		LogKeys: []tde.LogKey{
			{Thumbprint: "ABCD030405060708090A0B0C0D0E0F1011121314", Active: 2, Files: 2, Newest: 44},
			{Thumbprint: "0102030405060708090A0B0C0D0E0F1011121314", Active: 1, Files: 2, Newest: 42},
			{Active: 1, Files: 1, Newest: 1},
		},
		Geo: []tde.GeoStatus{
			{LinkID: "01020304-0506-0708-090A-0B0C0D0E0F10", PartnerServer: "srv-b", PartnerDatabase: "orders", Role: tde.Primary, State: tde.StateCatchUp, LagSeconds: &lag, LastReplication: &at, LastCommit: &at},
			{LinkID: "01020304-0506-0708-090A-0B0C0D0E0F10", PartnerServer: "srv-c", PartnerDatabase: "orders", Role: tde.Secondary, State: "SEEDING"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if logins := server.Logins(); len(logins) != 1 || logins[0].Token != "token for https://database.windows.net/.default" || logins[0].Database != "orders" || logins[0].ReadOnlyIntent {
		t.Errorf("%+v", logins)
	}
}

func TestWhichRowIsTheDatabasesOwn(t *testing.T) {
	tests := []struct {
		name string
		rows [][]any
		want int // state; -1 for an error
	}{
		{"no row: TDE is off", nil, tde.StateNone},
		{"its own among a pool's", [][]any{{int64(6), int64(5), int64(1), nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}, encrypted(5, 5)}, tde.StateProtectionChange},
		{"the only one, whatever its number", [][]any{encrypted(7, 5)}, tde.StateProtectionChange},
		{"none that can be told", [][]any{encrypted(7, 5), encrypted(8, 5)}, -1},
	}
	server := sqlconntest.Start(t, sqlconntest.Answers{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server.Set(sqlconntest.Answers{Statement: dmvs{keys: tt.rows}.answer})
			got, err := read(t, server)
			if tt.want < 0 {
				if err == nil {
					t.Errorf("%+v", got)
				}
				return
			}
			if err != nil || got.Encryption.State != tt.want {
				t.Errorf("%+v %v", got.Encryption, err)
			}
		})
	}
}

func TestReadingIsRepeatedAsLongAsItHelps(t *testing.T) {
	busy := sqltype.Message{Number: 40613, State: 1, Class: 17, Text: "Database 'orders' on server 'srv-a' is not currently available."}
	t.Run("while the database comes up", func(t *testing.T) {
		tries := 0
		server := sqlconntest.Start(t, sqlconntest.Answers{})
		server.Set(sqlconntest.Answers{Statement: dmvs{keys: [][]any{encrypted(5, 5)}}.answer, Login: func(tds.Login) error {
			if tries++; tries < 3 {
				return busy
			}
			return nil
		}})
		if got, err := read(t, server); err != nil || got.Encryption == nil || tries != 3 {
			t.Errorf("%+v %v after %d", got, err, tries)
		}
	})
	t.Run("and no longer than its limit", func(t *testing.T) {
		server := sqlconntest.Start(t, sqlconntest.Answers{Login: func(tds.Login) error { return busy }})
		began := time.Now()
		_, err := read(t, server)
		if failure, ok := errors.AsType[*sqlconn.Error](err); !ok || failure.Number != 40613 || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
	t.Run("but not what nobody's patience cures", func(t *testing.T) {
		server := sqlconntest.Start(t, sqlconntest.Answers{Login: func(tds.Login) error {
			return sqltype.Message{Number: 18456, State: 1, Class: 14, Text: "Login failed for user '<token-identified principal>'."}
		}})
		_, err := read(t, server)
		if failure, ok := errors.AsType[*sqlconn.Error](err); !ok || !strings.Contains(failure.Hint, "CREATE USER") || len(server.Logins()) != 1 {
			t.Errorf("%v after %d logins", err, len(server.Logins()))
		}
	})
}

// What could be read counts, beside what is missing.
func TestAReadingInPart(t *testing.T) {
	server := sqlconntest.Start(t, sqlconntest.Answers{})
	server.Set(sqlconntest.Answers{Statement: dmvs{
		keys:   [][]any{encrypted(5, 5)},
		refuse: map[string]sqltype.Message{"dm_db_log_info": {Number: 262, State: 1, Class: 14, Text: "VIEW DATABASE STATE permission denied in database 'orders'."}},
	}.answer})
	got, err := read(t, server)
	failure, ok := errors.AsType[*sqlconn.Error](err)
	if !ok || failure.Number != 262 || got.Encryption == nil || got.LogKeys != nil || !strings.Contains(failure.Hint, "GRANT VIEW DATABASE STATE") {
		t.Errorf("%+v %v", got, err)
	}
}

func TestListeners(t *testing.T) {
	for fqdn, want := range map[string]string{
		"srv-a.database.windows.net":       "my-fog.database.windows.net",
		"srv-a.database.usgovcloudapi.net": "my-fog.database.usgovcloudapi.net",
	} {
		if got := azure.Listener("My-Fog", tde.Server{FQDN: fqdn}); got != want {
			t.Errorf("%s", got)
		}
	}
	for audience, c := range map[string]cloud.Configuration{
		"https://database.windows.net": cloud.AzurePublic, "https://database.usgovcloudapi.net": cloud.AzureGovernment, "https://database.chinacloudapi.cn": cloud.AzureChina,
		"https://sql.example": {Services: map[cloud.ServiceName]cloud.ServiceConfiguration{azure.SQLDatabase: {Audience: "https://sql.example"}}},
	} {
		if token, err := azure.SQLOptions(c, signed{}).Token(t.Context()); err != nil || token != "token for "+audience+"/.default" {
			t.Errorf("%s %v", token, err)
		}
	}
}
