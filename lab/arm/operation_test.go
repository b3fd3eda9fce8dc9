package arm_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/latency"
	"github.com/crosskeys/crosskeys/lab/store"
)

// open gives a state and its clock; the state outlives the runners on it.
func open(t *testing.T) (*store.Store, *clock.Clock) {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, clock.New(0)
}

// runner runs operations until the returned stop.
func runner(t *testing.T, s *store.Store, c *clock.Clock, kinds map[string]arm.Executor) (o *arm.Operations, stop func()) {
	t.Helper()
	o = arm.NewOperations(arm.OperationsOptions{Store: s, Clock: c, Latency: latency.Azure(1), NewID: uuid.NewString, Log: slog.New(slog.DiscardHandler)})
	for name, execute := range kinds {
		o.Handle(name, execute, nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := o.Run(ctx); err != nil {
		t.Fatal(err)
	}
	stop = func() { cancel(); o.Wait() }
	t.Cleanup(stop)
	return o, stop
}

func begin(t *testing.T, s *store.Store, o *arm.Operations, op arm.Operation) arm.Operation {
	t.Helper()
	err := s.Update(func(tx *store.Tx) (err error) {
		op, err = o.Begin(tx, op, "payload")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func status(t *testing.T, s *store.Store, o *arm.Operations, id string) string {
	t.Helper()
	var op arm.Operation
	err := s.View(func(tx *store.Tx) (err error) {
		op, _, err = o.Find(tx, id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return op.Status
}

var effects = store.NewTable[string]("test/effects")

func effect(_ context.Context, op arm.Operation) (arm.Commit, error) {
	return func(tx *store.Tx) error { return effects.Put(tx, op.ID, "done") }, nil
}

func TestAnOperationEndsByTheClockAlone(t *testing.T) {
	s, c := open(t)
	o, _ := runner(t, s, c, map[string]arm.Executor{"K": effect})
	op := begin(t, s, o, arm.Operation{Kind: "K", Takes: time.Hour, Holds: []string{"Thing"}})
	o.Settle(t.Context(), op.ID, 20*time.Millisecond)
	if got := status(t, s, o, op.ID); got != arm.InProgress {
		t.Fatalf("before its time it is %s", got)
	}
	err := s.View(func(tx *store.Tx) error {
		_, busy, err := o.Busy(tx, "THING")
		if !busy {
			t.Error("what it holds is not busy")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Hour)
	o.Settle(t.Context(), op.ID, 10*time.Second)
	if got := status(t, s, o, op.ID); got != arm.Succeeded {
		t.Fatalf("after its time it is %s", got)
	}
}

func TestAnUnfinishedOperationIsTakenUpByTheNextRunner(t *testing.T) {
	s, c := open(t)
	first, stop := runner(t, s, c, map[string]arm.Executor{"K": effect})
	op := begin(t, s, first, arm.Operation{Kind: "K", Takes: time.Hour})
	stop()
	c.Advance(time.Hour)
	second, _ := runner(t, s, c, map[string]arm.Executor{"K": effect})
	second.Settle(t.Context(), op.ID, 10*time.Second)
	if got := status(t, s, second, op.ID); got != arm.Succeeded {
		t.Fatalf("it is %s", got)
	}
}

func TestARefusalFailsTheOperationAndLeavesNothing(t *testing.T) {
	s, c := open(t)
	refusal := arm.Refuse(http.StatusBadRequest, "No", "It is refused.")
	o, _ := runner(t, s, c, map[string]arm.Executor{
		"early": func(context.Context, arm.Operation) (arm.Commit, error) { return nil, refusal },
		"late": func(_ context.Context, op arm.Operation) (arm.Commit, error) {
			return func(tx *store.Tx) error { return errors.Join(effects.Put(tx, op.ID, "half"), refusal) }, nil
		},
	})
	for _, kind := range []string{"early", "late"} {
		op := begin(t, s, o, arm.Operation{Kind: kind})
		o.Settle(t.Context(), op.ID, 10*time.Second)
		if got := status(t, s, o, op.ID); got != arm.Failed {
			t.Errorf("%s: it is %s", kind, got)
		}
		err := s.View(func(tx *store.Tx) error {
			_, left, err := effects.Get(tx, op.ID)
			if left {
				t.Errorf("%s: a failed operation left its effect", kind)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnOperationThatIsPutOffRunsAgain(t *testing.T) {
	s, c := open(t)
	tries := make(chan int, 10)
	o, _ := runner(t, s, c, map[string]arm.Executor{"K": func(_ context.Context, op arm.Operation) (arm.Commit, error) {
		tries <- op.Attempts
		if op.Attempts == 0 {
			return nil, &arm.AgainError{After: time.Hour, Err: errors.New("not yet")}
		}
		return nil, nil
	}})
	op := begin(t, s, o, arm.Operation{Kind: "K"})
	<-tries
	for len(tries) == 0 {
		c.Advance(time.Hour)
		time.Sleep(time.Millisecond)
	}
	o.Settle(t.Context(), op.ID, 10*time.Second)
	if got := status(t, s, o, op.ID); got != arm.Succeeded {
		t.Fatalf("it is %s", got)
	}
}

type everybody struct{}

func (everybody) Verify(string, []string) (entra.Claims, error) { return entra.Claims{}, nil }
func (everybody) Authorize(*store.Tx, entra.Claims, string, string) (bool, error) {
	return true, nil
}
func (everybody) CheckScope(*store.Tx, string, string) error { return nil }

func front(s *store.Store, routes ...arm.Route) (*arm.Front, error) {
	f := arm.NewFront(arm.FrontOptions{Store: s, Tokens: everybody{}, Roles: everybody{}, Scopes: everybody{}, NewID: uuid.NewString, Log: slog.New(slog.DiscardHandler)})
	return f, f.Add(arm.Provider{Namespace: "Microsoft.Sql", Routes: routes})
}

// An operation is polled at its own URLs and no other, and its failure comes
// in a poll that answers 200.
func TestPollsAnswerAtTheOperationsOwnURL(t *testing.T) {
	s, c := open(t)
	o, _ := runner(t, s, c, map[string]arm.Executor{"K": func(context.Context, arm.Operation) (arm.Commit, error) {
		return nil, arm.Refuse(http.StatusBadRequest, "No", "It is refused.")
	}})
	f, err := front(s, o.PollRoutes("Microsoft.Sql")...)
	if err != nil {
		t.Fatal(err)
	}
	op := begin(t, s, o, arm.Operation{Kind: "K", Segment: "serverKey", Provider: "Microsoft.Sql", Subscription: "s", ResourceGroup: "g", Location: "eastus", RetryAfter: time.Second})
	o.Settle(t.Context(), op.ID, 10*time.Second)
	const at = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Sql/locations/eastus/"
	for path, want := range map[string]string{
		at + "serverKeyAzureAsyncOperation/" + op.ID:                                                                    `200 {"name":"` + op.ID + `","status":"Failed"`,
		strings.ToUpper(at) + "SERVERKEYAZUREASYNCOPERATION/" + op.ID:                                                   `200 {"name":"` + op.ID + `","status":"Failed"`,
		at + "serverKeyOperationResults/" + op.ID:                                                                       `400 {"error":{"code":"No"`,
		at + "databaseAzureAsyncOperation/" + op.ID:                                                                     `404 {"error":{"code":"OperationIdNotFound"`,
		"/subscriptions/s/providers/Microsoft.Sql/locations/eastus/serverKeyAzureAsyncOperation/" + op.ID:               `404 {"error":{"code":"OperationIdNotFound"`,
		"/subscriptions/t/resourceGroups/g/providers/Microsoft.Sql/locations/eastus/serverKeyOperationResults/" + op.ID: `404 {"error":{"code":"OperationIdNotFound"`,
	} {
		if got := ask(t, f, path); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func ask(t *testing.T, f http.Handler, path string) string {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+"?api-version=1", nil)
	request.Header.Set("Authorization", "Bearer x")
	answer := httptest.NewRecorder()
	f.ServeHTTP(answer, request)
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(answer.Code) + " " + string(text)
}

// No path makes the front panic, and every answer is JSON or empty.
func FuzzFront(f *testing.F) {
	for _, seed := range []string{"/", "//subscriptions//s", "/subscriptions/s/providers/Microsoft.Sql/servers", "/providers/", "/a/providers/b/c/d/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		handler, err := front(s, arm.Route{Method: http.MethodGet, Pattern: "/subscriptions/{a}/providers/Microsoft.Sql/servers/{b}", Handle: func(_ context.Context, r *arm.Request) (*arm.Response, error) {
			return arm.OK(r.Param("b")), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?api-version=1", nil)
		request.URL.Path = path
		request.Header.Set("Authorization", "Bearer x")
		handler.ServeHTTP(httptest.NewRecorder(), request)
	})
}
