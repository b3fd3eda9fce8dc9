package instance_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep"
	"github.com/crosskeys/crosskeys/lab/instance"
)

// vault is a fake vault: it "wraps" by remembering, and can refuse a server.
type vault struct {
	mu      sync.Mutex
	keys    map[string][]byte
	refused map[string]error // by server
}

func (v *vault) open(_ context.Context, server string, dek engine.WrappedDEK) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.refused[server]; err != nil {
		return nil, err
	}
	key := v.keys[string(dek.Wrapped)]
	if key == nil {
		return nil, errors.New("wrapped by another key")
	}
	return bytes.Clone(key), nil
}

func (v *vault) refuse(server string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refused[server] = err
}

func (v *vault) wrap(id string, plain []byte, protector string) engine.WrappedDEK {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := engine.WrappedDEK{ID: id, Wrapped: fmt.Appendf(nil, "%s by %s, %d", id, protector, len(v.keys)), KeyURI: protector, Thumbprint: protector}
	v.keys[string(w.Wrapped)] = bytes.Clone(plain)
	return w
}

func (v *vault) newDEK(t testing.TB, id string) *engine.PlainDEK {
	t.Helper()
	plain := make([]byte, 32)
	if _, err := rand.Read(plain); err != nil {
		t.Fatal(err)
	}
	return &engine.PlainDEK{Wrapped: v.wrap(id, plain, "K1"), Key: plain}
}

type world struct {
	*instance.Instances
	t     testing.TB
	dir   string
	vault *vault
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), vault: &vault{keys: map[string][]byte{}, refused: map[string]error{}}}
	w.start()
	t.Cleanup(w.stop)
	return w
}

func (w *world) start() {
	w.Instances = instance.New(instance.Options{
		Dir: w.dir, Clock: clock.New(0), Random: rand.Reader, Open: w.vault.open, NoSync: true, VLFSize: 64 << 10,
	})
}

func (w *world) stop() {
	if err := w.Close(); err != nil {
		w.t.Error(err)
	}
}

// restart closes everything and takes it up again.
func (w *world) restart(entries []instance.Entry, links []instance.LinkSpec) {
	w.t.Helper()
	w.stop()
	w.start()
	if err := w.Load(entries); err != nil {
		w.t.Fatal(err)
	}
	for _, link := range links {
		if err := w.SetLink(link); err != nil {
			w.t.Fatal(err)
		}
	}
	w.Resume()
}

func (w *world) create(ref instance.Ref, id string) {
	w.t.Helper()
	if err := w.Create(w.t.Context(), ref, id, w.vault.newDEK(w.t, "dek of "+id)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) attach(ref instance.Ref) *instance.Lease {
	w.t.Helper()
	lease, err := w.Attach(w.t.Context(), ref, instance.Client{Login: "sqladmin", Host: "here", Program: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return lease
}

// exec runs SQL in a database.
func (w *world) exec(ref instance.Ref, sql string) error {
	w.t.Helper()
	db, err := w.Open(ref)
	if err != nil {
		return err
	}
	return execOn(w.t.Context(), db, sql)
}

func execOn(ctx context.Context, db *engine.DB, sql string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(conn.Exec(sql), conn.Close())
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// count counts the rows of table t.
func (w *world) count(ref instance.Ref) int {
	w.t.Helper()
	n, err := w.tryCount(ref)
	w.must(err)
	return n
}

// tryCount fails where the database is closed meanwhile, to become a secondary.
func (w *world) tryCount(ref instance.Ref) (n int, err error) {
	db, err := w.Open(ref)
	if err != nil {
		return 0, err
	}
	conn, err := db.Conn(w.t.Context())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	stmt, _, err := conn.Prepare("SELECT count(*) FROM t")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	if !stmt.Step() {
		return 0, fmt.Errorf("no row: %w", stmt.Err())
	}
	return stmt.ColumnInt(0), nil
}

// has reports whether table t can be read and has so many rows.
func (w *world) has(ref instance.Ref, rows int) bool {
	n, err := w.tryCount(ref)
	return err == nil && n == rows
}

func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// replicated makes a database with rows and its geo-secondary.
func (w *world) replicated(name string) instance.LinkSpec {
	w.t.Helper()
	spec := instance.LinkSpec{ID: "link " + name, Primary: instance.NewRef("east", name), Secondary: instance.NewRef("west", name)}
	w.create(spec.Primary, "1-"+name)
	w.must(w.exec(spec.Primary, "CREATE TABLE t(x); INSERT INTO t VALUES (1), (2), (3)"))
	w.Prepare(spec.Secondary, "2-"+name)
	w.must(w.SetLink(spec))
	w.must(w.AwaitSeeded(w.t.Context(), spec.ID))
	return spec
}

func TestDatabaseIsThereAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := instance.NewRef("East", "Orders")
	w.create(ref, "id-1")
	w.create(ref, "id-1") // repeated, as after a crash
	w.must(w.exec(ref, "CREATE TABLE t(x); INSERT INTO t VALUES (1)"))
	w.restart([]instance.Entry{{Ref: ref, ID: "id-1"}}, nil)
	w.attach(ref).Release() // waits until it is open
	if got := w.count(ref); got != 1 {
		t.Fatalf("%d rows", got)
	}
	boot, found := w.Boot(ref)
	if !found || boot.DEK == nil || boot.DEK.ID != "dek of id-1" {
		t.Fatalf("boot record %+v", boot)
	}
}

func TestFoldersOnNoRecordAreRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keep, gone := instance.NewRef("east", "keep"), instance.NewRef("east", "gone")
	w.create(keep, "id-1")
	w.create(gone, "id-2")
	w.restart([]instance.Entry{{Ref: keep, ID: "id-1"}}, nil)
	if _, err := os.Stat(filepath.Join(w.dir, "east", "id-2")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of a database on no record is there: %v", err)
	}
	w.attach(keep).Release()
}

func TestDropEndsSessionsAndRemovesFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := instance.NewRef("east", "orders")
	w.create(ref, "id-1")
	lease := w.attach(ref)
	w.must(w.Drop(ref, "another id"))
	if _, err := w.Open(ref); err != nil {
		t.Fatalf("a drop of another id took the database: %v", err)
	}
	w.must(w.Drop(ref, "id-1"))
	<-lease.Done()
	if !errors.Is(lease.Reason(), instance.ErrDropped) {
		t.Errorf("ended because %v", lease.Reason())
	}
	if _, err := os.Stat(filepath.Join(w.dir, "east", "id-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the files are there: %v", err)
	}
	if status, _ := w.Status(ref); status != instance.Missing {
		t.Errorf("status %s", status)
	}
}

func TestSessionsAreListedAndKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := instance.NewRef("east", "orders")
	w.create(ref, "id-1")
	first, second := w.attach(ref), w.attach(ref)
	master := w.attach(instance.NewRef("east", instance.Master))
	if first.SPID() != 51 || second.SPID() != 52 || master.SPID() != 53 {
		t.Fatalf("session ids %d, %d, %d", first.SPID(), second.SPID(), master.SPID())
	}
	second.Begin("SELECT", "SELECT 1")
	sessions := w.Sessions("EAST")
	if len(sessions) != 3 || sessions[1].Running == nil || sessions[1].Running.Text != "SELECT 1" || sessions[0].Running != nil || sessions[0].Client.Program != "test" {
		t.Fatalf("%+v", sessions)
	}
	second.End(instance.Counters{Rows: 1, Reads: 2}, 1)
	if info := second.Info(); info.Running != nil || info.Rows != 1 || info.Reads != 2 || info.Transactions != 1 || info.Requests != 1 {
		t.Errorf("%+v", info)
	}
	if w.Kill("east", 99) || !w.Kill("East", 52) {
		t.Error("KILL takes exactly the sessions that there are")
	}
	<-second.Done()
	if !errors.Is(second.Reason(), instance.ErrKilled) || first.Reason() != nil {
		t.Errorf("killed: %v, other: %v", second.Reason(), first.Reason())
	}
	second.Release()
	second.Release()
	if again := w.attach(ref); again.SPID() != 52 {
		t.Errorf("a freed session id is given again, not %d", again.SPID())
	}
}

func TestSecondaryFollowsAndTakesNoWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.replicated("orders")
	w.must(w.exec(link.Primary, "INSERT INTO t VALUES (4)"))
	w.must(w.AwaitSync(t.Context(), link.ID))
	if got := w.count(link.Secondary); got != 4 {
		t.Fatalf("%d rows on the secondary", got)
	}
	if err := w.exec(link.Secondary, "INSERT INTO t VALUES (5)"); !errors.Is(err, engine.ErrReadOnly) {
		t.Fatalf("a write on the secondary: %v", err)
	}
	if status, _ := w.LinkStatus(link.ID); status.State != georep.CatchUp || status.PercentComplete != 100 {
		t.Errorf("%+v", status)
	}
}

func TestSuspendedLinkReallyPauses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.replicated("orders")
	w.Suspend(link.ID, errors.New("no key"))
	w.must(w.exec(link.Primary, "INSERT INTO t VALUES (4)"))
	if got := w.count(link.Secondary); got != 3 {
		t.Fatalf("a suspended link shipped: %d rows", got)
	}
	w.Continue(link.ID)
	w.eventually("the link goes on", func() bool { return w.has(link.Secondary, 4) })
}

func TestSeedingThatCannotOpenTheKeyFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spec := instance.LinkSpec{ID: "link", Primary: instance.NewRef("east", "orders"), Secondary: instance.NewRef("west", "orders")}
	w.create(spec.Primary, "1")
	w.vault.refuse("west", errors.New("no permission"))
	w.Prepare(spec.Secondary, "2")
	w.must(w.SetLink(spec))
	if _, lost := errors.AsType[*engine.KeyError](w.AwaitSeeded(t.Context(), spec.ID)); !lost {
		t.Fatal("the seeding did not fail for the key")
	}
	if _, err := w.Attach(t.Context(), spec.Secondary, instance.Client{}); err == nil {
		t.Fatal("a database that was never seeded took a session")
	}
}

func TestEndedLinkLeavesTwoPrimaries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.replicated("orders")
	w.must(w.EndLink(t.Context(), link.ID))
	w.must(w.EndLink(t.Context(), link.ID))
	w.must(w.exec(link.Secondary, "INSERT INTO t VALUES (9)"))
	if w.count(link.Primary) != 3 || w.count(link.Secondary) != 4 {
		t.Error("the two still share writes")
	}
}

// A crash between the end of a link on record and in the files is mended.
func TestSecondaryWithoutALinkBecomesPrimaryAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.replicated("orders")
	w.restart([]instance.Entry{{Ref: link.Primary, ID: "1-orders"}, {Ref: link.Secondary, ID: "2-orders"}}, nil)
	w.attach(link.Secondary).Release()
	w.must(w.exec(link.Secondary, "INSERT INTO t VALUES (9)"))
}

func TestPlannedFailoverLosesNothingAndEndsSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	links := []instance.LinkSpec{w.replicated("orders"), w.replicated("ledger")}
	lease := w.attach(links[0].Primary)
	stop, written := make(chan struct{}), make(chan int)
	go func() { // a client that writes until it is told otherwise
		n := 0
		for {
			select {
			case <-stop:
				written <- n
				return
			default:
				if execOn(context.Background(), lease.DB(), fmt.Sprintf("INSERT INTO t VALUES (%d)", 100+n)) != nil {
					<-stop
					written <- n
					return
				}
				n++
			}
		}
	}()
	w.eventually("the writer writes", func() bool { return w.count(links[0].Primary) > 5 })
	began := time.Now()
	turn, err := w.PlannedFailover(t.Context(), links)
	w.must(err)
	if _, err := w.Attach(shortly(t), links[0].Secondary, instance.Client{}); err == nil {
		t.Error("a session came in before the roles were on record")
	}
	took := time.Since(began)
	turn.End()
	<-lease.Done()
	close(stop)
	if !errors.Is(lease.Reason(), instance.ErrRoleChanged) {
		t.Errorf("the session ended because %v", lease.Reason())
	}
	if got, want := w.count(links[0].Secondary), 3+<-written; got != want {
		t.Fatalf("%d rows on the new primary, %d were acknowledged", got, want)
	}
	for _, link := range links {
		w.must(w.exec(link.Secondary, "INSERT INTO t VALUES (0)"))
		if err := w.exec(link.Primary, "INSERT INTO t VALUES (0)"); !errors.Is(err, engine.ErrReadOnly) {
			t.Errorf("a write on the old primary: %v", err)
		}
	}
	t.Logf("planned failover of two databases took %v", took)
	again, err := w.PlannedFailover(t.Context(), links) // as after a crash
	w.must(err)
	again.End()
}

// shortly is a context that ends soon.
func shortly(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestPlannedFailoverIsAllOrNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	links := []instance.LinkSpec{w.replicated("orders"), w.replicated("ledger")}
	w.Suspend(links[1].ID, errors.New("no key"))
	_, err := w.PlannedFailover(t.Context(), links)
	if _, ok := errors.AsType[*georep.RolledBackError](err); !ok {
		t.Fatalf("got %v", err)
	}
	w.vault.refuse("west", errors.New("no permission")) // both drain, neither may lead
	w.Continue(links[1].ID)
	w.eventually("both links follow", func() bool {
		status, _ := w.LinkStatus(links[1].ID)
		return status.State == georep.CatchUp
	})
	if _, err := w.PlannedFailover(t.Context(), links); err == nil {
		t.Fatal("the failover succeeded although the partner cannot open the key")
	}
	for _, link := range links {
		w.must(w.exec(link.Primary, "INSERT INTO t VALUES (0)"))
		w.attach(link.Primary).Release()
	}
}

func TestForcedFailoverSaysWhatWasLostAndTheOldPrimaryRejoins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.replicated("orders")
	w.Suspend(link.ID, errors.New("cut off"))
	for n := range 7 {
		w.must(w.exec(link.Primary, fmt.Sprintf("INSERT INTO t VALUES (%d)", n)))
	}
	turn, losses, err := w.ForcedFailover(t.Context(), []instance.LinkSpec{link})
	w.must(err)
	turn.End()
	if len(losses) != 1 || losses[0].Transactions != 7 || losses[0].ToLSN-losses[0].FromLSN != 6 || losses[0].Ref != link.Secondary {
		t.Fatalf("%+v", losses)
	}
	if got := w.count(link.Secondary); got != 3 {
		t.Fatalf("%d rows on the new primary", got)
	}
	w.must(w.exec(link.Secondary, "INSERT INTO t VALUES (8)"))
	w.eventually("the old primary rejoins as a secondary without what was lost", func() bool {
		db, err := w.Open(link.Primary)
		return err == nil && db.Boot().Role == engine.Secondary && w.has(link.Primary, 4)
	})
	_, again, err := w.ForcedFailover(t.Context(), []instance.LinkSpec{link})
	w.must(err)
	if diff := cmp.Diff(losses, again); diff != "" {
		t.Errorf("repeated, it says something else: %s", diff)
	}
}

// A failover whose records were lost in a crash is found in the boot records.
func TestRolesInTheFilesOutliveARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.replicated("orders")
	turn, err := w.PlannedFailover(t.Context(), []instance.LinkSpec{link})
	w.must(err)
	turn.End()
	w.restart([]instance.Entry{{Ref: link.Primary, ID: "1-orders"}, {Ref: link.Secondary, ID: "2-orders"}}, []instance.LinkSpec{link})
	w.attach(link.Secondary).Release()
	w.must(w.exec(link.Secondary, "INSERT INTO t VALUES (4)"))
	w.must(w.exec(link.Secondary, "INSERT INTO t VALUES (5)"))
	w.eventually("the old primary follows", func() bool { return w.has(link.Primary, 5) })
	turn, err = w.PlannedFailover(t.Context(), []instance.LinkSpec{link}) // the executor repeats itself
	w.must(err)
	turn.End()
	w.must(w.exec(link.Secondary, "INSERT INTO t VALUES (6)"))
}

func TestInaccessibleDatabaseForgetsItsKeyAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.replicated("orders")
	lease := w.attach(link.Primary)
	w.must(w.MakeInaccessible(link.Primary, errors.New("no permission")))
	<-lease.Done()
	_, err := w.Attach(t.Context(), link.Primary, instance.Client{})
	if gone, ok := errors.AsType[*instance.UnavailableError](err); !ok || gone.Status != instance.Inaccessible {
		t.Fatalf("got %v", err)
	}
	if boot, found := w.Boot(link.Primary); !found || boot.DEK == nil {
		t.Error("the boot record of a closed database is not known")
	}
	if vlfs, err := w.VLFs(link.Primary); err != nil || len(vlfs) == 0 {
		t.Errorf("the log files of a closed database: %v %v", vlfs, err)
	}
	w.vault.refuse("east", errors.New("no permission"))
	if err := w.MakeAccessible(t.Context(), link.Primary); err == nil {
		t.Fatal("a database opened without its key: it was not forgotten")
	}
	w.vault.refuse("east", nil)
	w.must(w.MakeAccessible(t.Context(), link.Primary))
	w.must(w.exec(link.Primary, "INSERT INTO t VALUES (4)"))
	w.eventually("the secondary follows again", func() bool { return w.has(link.Secondary, 4) })
}

func TestDatabaseWhoseKeyIsGoneAtStartIsInaccessible(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := instance.NewRef("east", "orders")
	w.create(ref, "id-1")
	w.vault.refuse("east", errors.New("no permission"))
	w.restart([]instance.Entry{{Ref: ref, ID: "id-1"}}, nil)
	w.eventually("it is Inaccessible", func() bool { status, _ := w.Status(ref); return status == instance.Inaccessible })
}

func TestEncryptionGoesOffAndOnWithAScanThatOutlivesARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := instance.NewRef("east", "orders")
	w.create(ref, "id-1")
	w.must(w.exec(ref, "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2000) INSERT INTO t SELECT randomblob(500) FROM n"))
	state := func(want engine.State) func() bool {
		return func() bool { boot, _ := w.Boot(ref); return boot.State == want }
	}
	w.must(w.SetEncryption(t.Context(), ref, nil))
	w.eventually("it is decrypted", state(engine.StateUnencrypted))
	w.must(w.SetEncryption(t.Context(), ref, nil)) // repeated
	dek := w.vault.newDEK(t, "second")
	w.must(w.SetEncryption(t.Context(), ref, dek))
	w.restart([]instance.Entry{{Ref: ref, ID: "id-1"}}, nil) // in the middle of the scan, or after it
	w.eventually("it is encrypted", state(engine.StateEncrypted))
	if got := w.count(ref); got != 2000 {
		t.Fatalf("%d rows", got)
	}
}

func TestRewrapChangesTheWrappingAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	link := w.replicated("orders")
	boot, _ := w.Boot(link.Primary)
	plain, err := w.vault.open(t.Context(), "east", *boot.DEK)
	w.must(err)
	wrapped := w.vault.wrap(boot.DEK.ID, plain, "K2")
	for _, ref := range []instance.Ref{link.Primary, link.Secondary} {
		lock, err := w.Lock(ref)
		w.must(err)
		w.must(lock.Rewrap(t.Context(), wrapped))
		lock.Unlock()
		if boot, _ := w.Boot(ref); boot.DEK.Thumbprint != "K2" || boot.State != engine.StateEncrypted {
			t.Errorf("%s: %+v", ref, boot)
		}
	}
	w.must(w.exec(link.Primary, "INSERT INTO t VALUES (4)"))
	w.must(w.AwaitSync(t.Context(), link.ID))
}

// While a secondary is being seeded the link says so, with how far it is, and
// the secondary takes no sessions.
func TestSeedingShowsItsProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spec := instance.LinkSpec{ID: "link", Primary: instance.NewRef("east", "orders"), Secondary: instance.NewRef("west", "orders")}
	w.create(spec.Primary, "1")
	w.must(w.exec(spec.Primary, "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 4000) INSERT INTO t SELECT randomblob(4000) FROM n"))
	w.Prepare(spec.Secondary, "2")
	w.must(w.SetLink(spec))
	seen := map[georep.State]bool{}
	partly := false
	w.eventually("the seeding ends", func() bool {
		status, _ := w.LinkStatus(spec.ID)
		seen[status.State] = true
		if status.State == georep.Seeding && status.PercentComplete < 100 {
			partly = true
			if _, err := w.Attach(t.Context(), spec.Secondary, instance.Client{}); err == nil {
				t.Error("a database that is being seeded took a session")
			}
		}
		return status.State == georep.CatchUp
	})
	if !seen[georep.Seeding] || !partly {
		t.Errorf("states seen: %v, progress seen: %t", seen, partly)
	}
	if got := w.count(spec.Secondary); got != 4000 {
		t.Errorf("%d rows", got)
	}
}
