package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/lab"
)

// recorder notes each request of the SDK and lets none through.
type recorder struct{ calls map[string]bool }

var errRecorded = errors.New("recorded")

// Do notes the request's method and path.
func (r *recorder) Do(request *http.Request) (*http.Response, error) {
	r.calls[request.Method+" "+request.URL.Path] = true
	return nil, errRecorded
}

type noToken struct{}

// GetToken gives a token that is good for nothing.
func (noToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "none", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// operations lists what Microsoft's client for Microsoft.Sql can call, found
// by calling every method of every client with placeholder arguments.
func operations(t *testing.T) map[string]bool {
	t.Helper()
	r := &recorder{calls: map[string]bool{}}
	factory, err := armsql.NewClientFactory(lab.SubscriptionID, noToken{}, &arm.ClientOptions{
		ClientOptions: policy.ClientOptions{Transport: r, Retry: policy.RetryOptions{MaxRetries: -1}}, DisableRPRegistration: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	value := reflect.ValueOf(factory)
	for i := range value.NumMethod() {
		if !strings.HasPrefix(value.Type().Method(i).Name, "New") {
			continue
		}
		client := value.Method(i).Call(nil)[0]
		for j := range client.NumMethod() {
			callOnce(t, client.Method(j))
		}
	}
	return r.calls
}

// callOnce calls an operation; of a pager, its first page.
func callOnce(t *testing.T, method reflect.Value) {
	t.Helper()
	arguments := make([]reflect.Value, method.Type().NumIn())
	for i := range arguments {
		arguments[i] = placeholder(t, method.Type().In(i))
	}
	result := method.Call(arguments)[0]
	if page := result.MethodByName("NextPage"); page.IsValid() {
		page.Call([]reflect.Value{reflect.ValueOf(t.Context())})
	}
}

func placeholder(t *testing.T, kind reflect.Type) reflect.Value {
	t.Helper()
	if kind == reflect.TypeFor[context.Context]() {
		return reflect.ValueOf(t.Context())
	}
	value := reflect.New(kind).Elem()
	switch kind.Kind() {
	case reflect.String:
		value.SetString("x")
	case reflect.Int32, reflect.Int64:
		value.SetInt(1)
	default:
	}
	return value
}

// The coverage meter: how many of the Microsoft.Sql operations the lab
// answers, as docs/parity.md says.
func TestCoverageOfMicrosoftSQL(t *testing.T) {
	t.Parallel()
	all := operations(t)
	l := start(t, lab.Options{})
	served := 0
	for call := range all {
		method, path, _ := strings.Cut(call, " ")
		// The route under which operations are polled takes any name below a
		// location; it serves none of the others that stand there.
		if l.Serves(method, path) && !strings.Contains(path, "/locations/") {
			served++
		}
	}
	meter := fmt.Sprintf("%d of %d Microsoft.Sql operations", served, len(all))
	t.Log(meter)
	page, err := os.ReadFile("../docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`\d+ of \d+ Microsoft\.Sql operations`).FindString(string(page)); found != meter {
		t.Errorf("docs/parity.md says %q, measured %q", found, meter)
	}
}
