package sqlserver_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/sqlserver"
)

// tokens gives old tokens, a number of times, and then a new one.
type tokens struct{ old int }

func (t *tokens) Issue(string, string) (string, time.Time, error) {
	if t.old > 0 {
		t.old--
		return "old", time.Time{}, nil
	}
	return "new", time.Time{}, nil
}

// vault takes the new token alone.
type vault struct{}

func (vault) Do(r *http.Request) (*http.Response, error) {
	answer := &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Request: r, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(`{"key":{"kid":"https://v.vault.azure.net/keys/k/1","kty":"RSA","n":"AQ","e":"AQAB"},"attributes":{"enabled":true}}`)),
	}
	if r.Header.Get("Authorization") != "Bearer new" {
		answer.Status, answer.StatusCode = "401 Unauthorized", http.StatusUnauthorized
		answer.Header.Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"`)
		answer.Body = io.NopCloser(strings.NewReader(`{"error":{"code":"Unauthorized"}}`))
	}
	return answer, nil
}

// A token that the vault does not take, as when the lab's clock has been moved,
// is no loss of rights: a new one is asked for.
func TestAnOutrunTokenIsReplaced(t *testing.T) {
	t.Parallel()
	for old := range 2 {
		v := sqlserver.NewKeyVault(&tokens{old: old}, vault{})
		if info, err := v.Get(t.Context(), "server", "https://v.vault.azure.net/keys/k/1"); err != nil || !info.Enabled {
			t.Errorf("after %d old tokens: %+v %v", old, info, err)
		}
	}
	v := sqlserver.NewKeyVault(&tokens{old: 100}, vault{})
	if info, err := v.Get(t.Context(), "server", "https://v.vault.azure.net/keys/k/1"); err == nil {
		t.Errorf("with old tokens alone: %+v", info)
	}
}
