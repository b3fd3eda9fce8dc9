package georep_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crosskeys/crosskeys/lab/engine"
	"github.com/crosskeys/crosskeys/lab/georep"
)

// The variables that make TestKilledProcess the process that is killed.
const (
	killedDir   = "GEOREP_KILLED_DIR"
	killedRound = "GEOREP_KILLED_ROUND"
	killedKind  = "GEOREP_KILLED_KIND"
)

// openWorld opens what lies in a folder, or makes it.
func openWorld(t testing.TB, dir string) *world {
	t.Helper()
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	w := &world{dir: dir, vlf: 128 << 10, vaults: map[string]*vault{}}
	w.dek = &engine.PlainDEK{Key: key, Wrapped: engine.WrappedDEK{ID: "dek1", Wrapped: mask("AAAA", key), Thumbprint: "AAAA", KeyURI: "k", CreatedAt: time.Now(), SetAt: time.Now()}}
	w.plan(2)
	if _, err := engine.ReadBoot(w.options("a").Dir); errors.Is(err, engine.ErrNotFound) && w.replicas["a"].Prepare() == nil {
		if _, err := engine.ReadBoot(w.options("a").Dir); errors.Is(err, engine.ErrNotFound) {
			ok(t, w.create(t))
		}
	}
	for _, replica := range w.replicas {
		if replica.DB() != nil {
			continue
		}
		if _, err := replica.Open(t.Context()); err != nil && !errors.Is(err, engine.ErrNotFound) {
			t.Fatal(err)
		}
	}
	w.connect(t)
	ok(t, w.rel.Recover(within(t)))
	t.Cleanup(w.close)
	return w
}

// ledger appends each acknowledged row to a file, which a kill does not undo.
type ledger struct {
	mu    sync.Mutex
	grew  *sync.Cond
	count int
	file  *os.File
}

func openLedger(t testing.TB, dir string) *ledger {
	t.Helper()
	l := &ledger{file: must[*os.File](t)(os.OpenFile(filepath.Join(dir, "ledger"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))}
	l.grew = sync.NewCond(&l.mu)
	return l
}

// more waits for n further rows.
func (l *ledger) more(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for want := l.count + n; l.count < want; {
		l.grew.Wait()
	}
}

func (l *ledger) note(writer, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.file, "%d %d\n", writer, n)
	l.count++
	l.grew.Broadcast()
}

func readLedger(t testing.TB, path string) map[[2]int]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		ok(t, err)
	}
	acked := map[[2]int]bool{}
	for line := range strings.Lines(string(text)) {
		var writer, n int
		if _, err := fmt.Sscanf(line, "%d %d\n", &writer, &n); err == nil {
			acked[[2]int{writer, n}] = true
		}
	}
	return acked
}

// TestKilledProcess is no test of its own: TestKill runs it as a process.
func TestKilledProcess(t *testing.T) {
	dir, kind := os.Getenv(killedDir), os.Getenv(killedKind)
	if dir == "" {
		t.Skip("runs only as the process that TestKill kills")
	}
	var round int
	must[int](t)(fmt.Sscan(os.Getenv(killedRound), &round))
	w := openWorld(t, dir)
	w.settle(t)
	acks := openLedger(t, dir)
	for writer := range 3 {
		go writeRows(t.Context(), w, acks, round*10+writer)
	}
	acks.more(5)
	_, _ = fmt.Fprintln(os.Stdout, "ready") // the parent's sign to start the countdown
	if kind == "forced" {
		target := "b"
		w.rel.Link(target).Suspend(errDown)
		acks.more(20)
		_, err := w.rel.ForcedFailover(t.Context(), target)
		ok(t, err)
		select {}
	}
	for {
		for _, partner := range []string{"b", "c", "a"} {
			acks.more(5)
			var rolled *georep.RolledBackError
			if err := w.rel.PlannedFailover(t.Context(), partner); err != nil && !errors.As(err, &rolled) {
				t.Fatal(err)
			}
		}
	}
}

func writeRows(ctx context.Context, w *world, acks *ledger, writer int) {
	for n := 0; ; {
		c, err := w.rel.Primary().DB().Conn(ctx)
		for err == nil {
			if err = c.Exec(row(writer, n)); err == nil {
				acks.note(writer, n)
				n++
			}
		}
		if c != nil {
			_ = c.Close()
		}
	}
}

// killAtRandom runs TestKilledProcess and kills it a random moment after it has
// begun.
func killAtRandom(t *testing.T, dir, kind string, round int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir, fmt.Sprintf("%s=%d", killedRound, round), killedKind+"="+kind)
	out := must[interface {
		Read([]byte) (int, error)
		Close() error
	}](t)(cmd.StdoutPipe())
	ok(t, cmd.Start())
	lines := bufio.NewScanner(out)
	ready := false
	for lines.Scan() {
		if ready = lines.Text() == "ready"; ready {
			break
		}
		t.Log(lines.Text())
	}
	if !ready {
		t.Fatal("the process ended before it was ready")
	}
	time.Sleep(time.Duration(rand.IntN(40_000)) * time.Microsecond)
	ok(t, cmd.Process.Kill())
	for lines.Scan() {
		if text := lines.Text(); strings.Contains(text, "FAIL") || strings.Contains(text, "_test.go") {
			t.Error(text)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process was not killed")
	}
}

func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Run("killed during planned failovers, nothing acknowledged is lost", func(t *testing.T) {
		dir := t.TempDir()
		for round := range 8 {
			killAtRandom(t, dir, "planned", round)
			w := openWorld(t, dir)
			w.settle(t)
			acked := readLedger(t, filepath.Join(dir, "ledger"))
			for name := range w.replicas {
				if n := missing(acked, rows(t, w.db(name))); n != 0 {
					t.Fatalf("round %d: %d of %d acknowledged rows are missing on %s", round, n, len(acked), name)
				}
			}
			if round == 7 && len(acked) < 40 {
				t.Errorf("only %d rows were acknowledged", len(acked))
			}
			ok(t, w.rel.PlannedFailover(within(t), "b"))
			w.settle(t)
			ok(t, w.rel.PlannedFailover(within(t), "a"))
			w.settle(t)
			w.close()
		}
	})
	t.Run("killed during a forced failover, what is missing was reported", func(t *testing.T) {
		lost := 0
		for round := range 8 {
			dir := t.TempDir()
			killAtRandom(t, dir, "forced", round)
			w := openWorld(t, dir)
			loss := georep.Loss{Known: true}
			if w.rel.Primary().Name() == "b" {
				loss = must[georep.Loss](t)(w.rel.ForcedFailover(within(t), "b"))
			}
			w.settle(t)
			n := missing(readLedger(t, filepath.Join(dir, "ledger")), rows(t, w.rel.Primary().DB()))
			// A writer may have been killed between the commit and the note of it.
			if !loss.Known || uint64(n) > loss.Transactions || loss.Transactions > uint64(n)+3 {
				t.Errorf("round %d: %d acknowledged rows are missing, reported %+v", round, n, loss)
			}
			lost += n
			w.close()
		}
		if lost == 0 {
			t.Log("no round lost anything")
		}
	})
}
