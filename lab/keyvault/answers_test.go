package keyvault_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// answer is a raw HTTP answer.
type answer struct {
	status int
	header http.Header
	text   []byte
	body   map[string]any
}

func (w *world) send(t testing.TB, method, url, token string, body any) answer {
	t.Helper()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := w.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, text: text}
	if len(text) > 0 && json.Unmarshal(text, &a.body) != nil {
		t.Fatalf("%s %s: body is not JSON: %s", method, url, text)
	}
	return a
}

// data sends a raw data-plane request as admin.
func (w *world) data(t testing.TB, method, vault, path string, body any) answer {
	t.Helper()
	if !strings.Contains(path, "api-version") {
		path += "?api-version=7.4"
	}
	return w.send(t, method, "https://"+vault+".vault.azure.net"+path, tokenFor(admin, "https://vault.azure.net").String(), body)
}

// control sends a raw ARM request as admin.
func (w *world) control(t testing.TB, method, path, version string, body any) answer {
	t.Helper()
	return w.send(t, method, "https://management.azure.com"+path+"?api-version="+version, tokenFor(admin, "https://management.azure.com").String(), body)
}

func vaultPath(name string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/" + group + "/providers/Microsoft.KeyVault/vaults/" + name
}

// want checks that err is the service's refusal with a status and a code: the
// inner one where there is one.
func want(t testing.TB, err error, status int, code string) {
	t.Helper()
	refusal, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		t.Fatalf("got %v, want a refusal with %d %s", err, status, code)
	}
	got := refusal.ErrorCode
	if text, err := io.ReadAll(refusal.RawResponse.Body); err == nil {
		var body struct {
			Error struct {
				Inner struct {
					Code string `json:"code"`
				} `json:"innererror"`
			} `json:"error"`
		}
		if json.Unmarshal(text, &body) == nil && body.Error.Inner.Code != "" {
			got = body.Error.Inner.Code
		}
	}
	if refusal.StatusCode != status || got != code {
		t.Fatalf("got %d %s, want %d %s: %v", refusal.StatusCode, got, status, code, err)
	}
}

// field reads a value inside an answer's JSON; nil when it is not there.
func field(body any, names ...string) any {
	for _, name := range names {
		object, ok := body.(map[string]any)
		if !ok {
			return nil
		}
		body = object[name]
	}
	return body
}

func text(body any, names ...string) string {
	value, _ := field(body, names...).(string)
	return value
}

// wantRaw is want for raw answers.
func wantRaw(t testing.TB, a answer, status int, code string) {
	t.Helper()
	got := text(a.body, "error", "code")
	if inner := text(a.body, "error", "innererror", "code"); inner != "" {
		got = inner
	}
	if a.status != status || got != code {
		t.Fatalf("got %d %s, want %d %s: %s", a.status, got, status, code, a.text)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
