package entra

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/store"
)

const (
	testTenant = "11111111-1111-4111-8111-111111111111"
	testApp    = "33333333-3333-4333-8333-333333333333"
	testObject = "44444444-4444-4444-8444-444444444444"
	testSecret = "a secret with / and + and %"
	testBase   = "https://localhost:8443"
	testServer = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Sql/servers/one"

	vaultResource = "https://vault.azure.net"
)

// openTenant opens a tenant on the state in dir.
func openTenant(t testing.TB, dir string) *Service {
	t.Helper()
	state, err := store.Open(filepath.Join(dir, "state.db"), store.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = state.Close() })
	sealer, err := store.OpenSealer(filepath.Join(dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Store: state, Sealer: sealer, Clock: clock.New(0), TenantID: testTenant, NewID: uuid.NewString})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newTenant is a tenant of one application and one managed identity.
func newTenant(t testing.TB) (s *Service, identity Principal) {
	t.Helper()
	s = openTenant(t, t.TempDir())
	update(t, s, func(tx *store.Tx) (err error) {
		if err := s.PutApplication(tx, Principal{ObjectID: testObject, AppID: testApp, Name: "operator"}, testSecret); err != nil {
			return err
		}
		identity, err = s.CreateManagedIdentity(tx, "one", testServer)
		return err
	})
	s.SetBaseURLs([]string{testBase})
	return s, identity
}

func update(t testing.TB, s *Service, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := s.Store.Update(fn); err != nil {
		t.Fatal(err)
	}
}

func TestPrincipals(t *testing.T) {
	s, identity := newTenant(t)
	t.Run("an application is found by its client id in any case", func(t *testing.T) {
		found, there := find(t, s, func(tx *store.Tx) (Principal, bool, error) {
			return s.FindApplication(tx, "33333333-3333-4333-8333-333333333333")
		})
		if !there || found.ObjectID != testObject || found.TenantID != testTenant {
			t.Fatalf("found %+v, %t", found, there)
		}
	})
	t.Run("a managed identity has the id of its resource", func(t *testing.T) {
		found, there := find(t, s, func(tx *store.Tx) (Principal, bool, error) { return s.FindPrincipal(tx, identity.ObjectID) })
		if !there || found != identity || found.ManagedIdentity != testServer {
			t.Fatalf("found %+v, %t; want %+v", found, there, identity)
		}
	})
	t.Run("a deleted principal is found no more, and deleting it again is no error", func(t *testing.T) {
		for range 2 {
			update(t, s, func(tx *store.Tx) error { return s.DeletePrincipal(tx, identity.ObjectID) })
		}
		if _, there := find(t, s, func(tx *store.Tx) (Principal, bool, error) { return s.FindPrincipal(tx, identity.ObjectID) }); there {
			t.Error("the principal is still there")
		}
		if _, there := find(t, s, func(tx *store.Tx) (Principal, bool, error) { return s.FindApplication(tx, identity.AppID) }); there {
			t.Error("its client id is still there")
		}
		if _, _, err := s.Issue(identity.ObjectID, vaultResource); !errors.Is(err, ErrNoPrincipal) {
			t.Errorf("a token for it: %v, want ErrNoPrincipal", err)
		}
	})
	t.Run("an application without ids is refused", func(t *testing.T) {
		if err := s.Store.Update(func(tx *store.Tx) error { return s.PutApplication(tx, Principal{Name: "nobody"}, "x") }); err == nil {
			t.Error("it was taken")
		}
	})
}

func find(t *testing.T, s *Service, by func(tx *store.Tx) (Principal, bool, error)) (found Principal, there bool) {
	t.Helper()
	if err := s.Store.View(func(tx *store.Tx) (err error) { found, there, err = by(tx); return err }); err != nil {
		t.Fatal(err)
	}
	return found, there
}

func TestStateAtRest(t *testing.T) {
	dir := t.TempDir()
	s := openTenant(t, dir)
	update(t, s, func(tx *store.Tx) error {
		return s.PutApplication(tx, Principal{ObjectID: testObject, AppID: testApp}, "correct horse battery staple")
	})
	token, _, err := s.Issue(testObject, vaultResource)
	if err != nil {
		t.Fatal(err)
	}
	header, err := s.IdentitySecret()
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.signingKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Store.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("secrets and the signing key are not on disk in the clear", func(t *testing.T) {
		state, err := os.ReadFile(filepath.Join(dir, "state.db"))
		if err != nil {
			t.Fatal(err)
		}
		for what, secret := range map[string][]byte{
			"client secret": []byte("correct horse battery staple"), "identity secret": []byte(header), "private exponent": key.private.D.Bytes(),
			"prime": key.private.Primes[0].Bytes(),
		} {
			if bytes.Contains(state, secret) {
				t.Errorf("the %s is in state.db", what)
			}
		}
		if !bytes.Contains(state, []byte(testApp)) {
			t.Error("the search finds nothing at all: even the client id is missing")
		}
	})
	t.Run("after a restart the same key signs, and the same secret opens the identity endpoint", func(t *testing.T) {
		again := openTenant(t, dir)
		if _, err := again.Verify(token, []string{vaultResource}); err != nil {
			t.Error(err)
		}
		if now, err := again.IdentitySecret(); err != nil || now != header {
			t.Errorf("identity secret %q, %v; want %q", now, err, header)
		}
	})
}

func TestNewDoesNoWork(t *testing.T) {
	s := openTenant(t, t.TempDir())
	if s.key.Load() != nil {
		t.Error("New made the signing key: it lengthens the lab's start")
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New took options without a store")
	}
}

func TestIssueRepeatsATokenForHalfItsLife(t *testing.T) {
	s, identity := newTenant(t)
	issue := func() string {
		t.Helper()
		token, expires, err := s.Issue(identity.ObjectID, vaultResource)
		if err != nil {
			t.Fatal(err)
		}
		if left := expires.Sub(s.Clock.Now()); left < identityLifetime/2-time.Minute {
			t.Fatalf("only %s are left of the token", left)
		}
		return token
	}
	first := issue()
	if issue() != first {
		t.Error("the second call made a new token")
	}
	if other, _, err := s.Issue(identity.ObjectID, "https://management.azure.com"); err != nil || other == first {
		t.Errorf("another audience got the same token, or %v", err)
	}
	s.Clock.Advance(13 * time.Hour)
	if issue() == first {
		t.Error("an old token was given again")
	}
}
