package azure

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPausesAreTheServices(t *testing.T) {
	for _, each := range []struct {
		header map[string]string
		want   time.Duration
	}{
		{map[string]string{"Retry-After": "15"}, 15 * time.Second},
		{map[string]string{"Retry-After": "1", "retry-after-ms": "20"}, 20 * time.Millisecond},
		{map[string]string{"Retry-After": "soon"}, usualPause},
		{nil, usualPause},
	} {
		header := http.Header{}
		for name, value := range each.header {
			header.Set(name, value)
		}
		if got := pauseOf(&http.Response{Header: header}); got != each.want {
			t.Errorf("%v: %s, want %s", each.header, got, each.want)
		}
	}
}

func TestWhatMayBeRepeated(t *testing.T) {
	for code, want := range map[string]bool{"FailoverGroupBusy": true, "TooManyRequests": true, "SameKeyMaterialNotFoundOnRemoteServer": false, "ServerKeyNotFound": false} {
		if retryable(code, http.StatusConflict) != want {
			t.Errorf("%s", code)
		}
	}
	if !retryable("", http.StatusServiceUnavailable) || retryable("", http.StatusBadRequest) {
		t.Error("by status")
	}
}

func TestEveryHintIsALineForAPerson(t *testing.T) {
	for code, hint := range hints() {
		if hint == "" || strings.Contains(hint, "\n") || strings.HasSuffix(hint, ".") {
			t.Errorf("%s: %q", code, hint)
		}
	}
}

func TestRolePatterns(t *testing.T) {
	for _, each := range []struct {
		pattern string
		want    bool
	}{
		{"*", true}, {"microsoft.keyvault/vaults/*", true}, {"microsoft.keyvault/vaults/keys/wrap/action", true},
		{"microsoft.keyvault/vaults/keys/*/action", true}, {"microsoft.keyvault/vaults/keys/read", false}, {"microsoft.sql/*", false},
	} {
		if matches(each.pattern, "microsoft.keyvault/vaults/keys/wrap/action") != each.want {
			t.Errorf("%s", each.pattern)
		}
	}
}

// A metadata document is read or refused; what is read has https addresses.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"resourceManager":"https://localhost:1","authentication":{"loginEndpoint":"https://localhost:1","audiences":["https://localhost:1"]}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseMetadata(text)
		if err == nil && !strings.HasPrefix(got.ActiveDirectoryAuthorityHost, "https://") {
			t.Fatalf("%q gave %+v", text, got)
		}
	})
}

// Whatever a refusal's body is, its message is read or empty.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"error":{"code":"x","message":"y"}}`))
	f.Fuzz(func(_ *testing.T, body []byte) { messageOf(body) })
}
