package instance_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/clock"
	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/instance"
	"github.com/crosskeys/crosskeys/lab/store"
)

// crashDir has this test binary work on the named folder, instead of running
// the tests, until it is killed.
const crashDir = "CROSSKEYS_INSTANCE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := workUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// record stands for the control plane's: which copies there are, and which
// link. It is written before a seeding and after a failover, as there.
type record struct {
	Primary string // server
	Seeds   int    // names the secondary's files
	Linked  bool
}

const crashDatabase = "orders"

func (r record) other() string {
	if r.Primary == "east" {
		return "west"
	}
	return "east"
}

func (r record) primary() instance.Ref   { return instance.NewRef(r.Primary, crashDatabase) }
func (r record) secondary() instance.Ref { return instance.NewRef(r.other(), crashDatabase) }
func (r record) link() instance.LinkSpec {
	return instance.LinkSpec{ID: fmt.Sprint("link ", r.Seeds), Primary: r.primary(), Secondary: r.secondary()}
}

func readRecord(dir string) (r record, found bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "record.json"))
	if errors.Is(err, os.ErrNotExist) {
		return record{Primary: "east"}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	return r, true, err
}

func (r record) write(dir string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return store.WriteFile(filepath.Join(dir, "record.json"), text)
}

// openCrash takes the folder up, as a start of the lab does.
func openCrash(dir string, r record) (*instance.Instances, error) {
	in := instance.New(instance.Options{
		Dir: filepath.Join(dir, "sql"), Clock: clock.New(0), Random: rand.Reader, Log: slog.New(slog.DiscardHandler), VLFSize: 256 << 10,
		Open: func(_ context.Context, _ string, dek engine.WrappedDEK) ([]byte, error) {
			return flip(dek.Wrapped), nil
		},
	})
	entries := []instance.Entry{{Ref: instance.NewRef("east", crashDatabase), ID: "east-0"}}
	if r.Seeds > 0 {
		entries = []instance.Entry{{Ref: r.primary(), ID: r.id(r.Primary)}, {Ref: r.secondary(), ID: r.id(r.other())}}
	}
	if err := in.Load(entries); err != nil {
		return nil, err
	}
	if r.Linked {
		if err := in.SetLink(r.link()); err != nil {
			return nil, err
		}
	}
	in.Resume()
	return in, nil
}

// id names a copy's files: both copies are of the last seeding's names.
func (r record) id(server string) string { return server + "-0" }

// flip is the fake wrapping: its own inverse, the same in every process.
func flip(key []byte) []byte {
	out := make([]byte, len(key))
	for n, b := range key {
		out[n] = b ^ 0x5a
	}
	return out
}

func crashDEK() *engine.PlainDEK {
	plain := make([]byte, 32)
	_, _ = rand.Read(plain)
	return &engine.PlainDEK{Key: plain, Wrapped: engine.WrappedDEK{ID: fmt.Sprintf("%x", plain[:4]), Wrapped: flip(plain), KeyURI: "K1", Thumbprint: "K1"}}
}

// workUntilKilled writes, fails over and scans, and never returns by itself.
func workUntilKilled(dir string) error {
	r, found, err := readRecord(dir)
	if err != nil {
		return err
	}
	in, err := openCrash(dir, r)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if !found {
		if err := in.Create(ctx, r.primary(), "east-0", crashDEK()); err != nil {
			return err
		}
		if err := r.write(dir); err != nil {
			return err
		}
	}
	current := make(chan record, 1)
	current <- r
	go crashWriter(ctx, dir, in, current)
	for n := 0; ; n++ {
		if r, err = crashStep(ctx, dir, in, r, n); err != nil {
			return err
		}
		<-current
		current <- r
	}
}

// crashStep does one of the things that a crash may interrupt.
func crashStep(ctx context.Context, dir string, in *instance.Instances, r record, n int) (record, error) {
	switch {
	case !r.Linked:
		if r.Seeds == 0 {
			r.Seeds = 1
		}
		r.Linked = true
		if err := r.write(dir); err != nil {
			return r, err
		}
		in.Prepare(r.secondary(), r.id(r.other()))
		if err := in.SetLink(r.link()); err != nil {
			return r, err
		}
		return r, in.AwaitSeeded(ctx, r.link().ID)
	case n%3 == 1:
		boot, _ := in.Boot(r.primary())
		var dek *engine.PlainDEK
		if boot.State == engine.StateUnencrypted {
			dek = crashDEK()
		}
		err := in.SetEncryption(ctx, r.primary(), dek)
		if errors.Is(err, engine.ErrScanInProgress) {
			err = nil
		}
		return r, err
	}
	if err := in.AwaitOpen(ctx, r.primary(), r.secondary()); err != nil {
		return r, err
	}
	turn, err := in.PlannedFailover(ctx, []instance.LinkSpec{r.link()})
	if err != nil {
		return r, err
	}
	r.Primary = r.other()
	err = r.write(dir)
	turn.End()
	return r, err
}

// crashWriter inserts numbers and notes each that was acknowledged.
func crashWriter(ctx context.Context, dir string, in *instance.Instances, current chan record) {
	acks, err := os.OpenFile(filepath.Join(dir, "acks"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	for n := time.Now().UnixNano(); ; n++ {
		r := <-current
		current <- r
		lease, err := in.Attach(ctx, r.primary(), instance.Client{})
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		err = execOn(ctx, lease.DB(), fmt.Sprintf("CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES (%d)", n))
		lease.Release()
		if err == nil {
			_, _ = fmt.Fprintln(acks, n)
		}
	}
}

// Databases whose process is killed at any moment of seeding, scanning and
// failing over lose no acknowledged write and end up in step.
func TestKilledAtAnyMomentNoAcknowledgedWriteIsLost(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CROSSKEYS_SEED"); text != "" {
		parsed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = parsed
	}
	t.Logf("CROSSKEYS_SEED=%d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 1))
	dir := t.TempDir()
	rounds := 8
	if limit, err := time.ParseDuration(os.Getenv("CROSSKEYS_SOAK")); err == nil {
		rounds = int(limit.Seconds()) * 2
	}
	for range rounds {
		process := exec.CommandContext(t.Context(), os.Args[0])
		process.Env = append(os.Environ(), crashDir+"="+dir)
		process.Stderr = os.Stderr
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(60+random.IntN(400)) * time.Millisecond)
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if state, _ := process.Process.Wait(); state != nil && state.ExitCode() == 1 {
			t.Fatal("the process failed before it was killed")
		}
	}
	checkCrashed(t, dir)
}

func checkCrashed(t *testing.T, dir string) {
	t.Helper()
	r, _, err := readRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	in, err := openCrash(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Instances: in, t: t}
	t.Cleanup(w.stop)
	for range 2 { // the last step is repeated and settles; then all goes on
		if r, err = crashStep(t.Context(), dir, in, r, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.must(in.AwaitSync(t.Context(), r.link().ID))
	file, err := os.Open(filepath.Join(dir, "acks"))
	w.must(err)
	defer func() { w.must(file.Close()) }()
	acknowledged := 0
	for _, ref := range []instance.Ref{r.primary(), r.secondary()} {
		acknowledged = 0
		there := w.numbers(ref)
		_, err := file.Seek(0, 0)
		w.must(err)
		for lines := bufio.NewScanner(file); lines.Scan(); acknowledged++ {
			if !there[strings.TrimSpace(lines.Text())] {
				t.Fatalf("%s: write %s was acknowledged and is lost", ref, lines.Text())
			}
		}
	}
	if acknowledged == 0 {
		t.Fatal("nothing was ever acknowledged")
	}
	w.eventually("the scan ends", func() bool {
		boot, _ := in.Boot(r.primary())
		return boot.State == engine.StateEncrypted || boot.State == engine.StateUnencrypted
	})
	t.Logf("%d acknowledged writes, none lost", acknowledged)
}

// numbers reads table t.
func (w *world) numbers(ref instance.Ref) map[string]bool {
	w.t.Helper()
	db, err := w.Open(ref)
	w.must(err)
	conn, err := db.Conn(w.t.Context())
	w.must(err)
	defer func() { w.must(conn.Close()) }()
	stmt, _, err := conn.Prepare("SELECT x FROM t")
	w.must(err)
	defer func() { w.must(stmt.Close()) }()
	there := map[string]bool{}
	for stmt.Step() {
		there[stmt.ColumnText(0)] = true
	}
	w.must(stmt.Err())
	return there
}
