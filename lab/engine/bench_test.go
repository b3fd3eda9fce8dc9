//go:build unix

package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const benchRows = 100_000

// side is one of the two that a benchmark compares.
type side struct {
	d     *DB
	c     *sqlite3.Conn
	times []time.Duration
}

func newSide(b *testing.B, tde bool) *side {
	o := options(b.TempDir(), newVault())
	var key *PlainDEK
	if tde {
		key = newKey(b, "dek", "A1")
	}
	d := create4(b, o, key)
	return &side{d: d, c: conn(b, d)}
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// compare runs f on both sides in turn, in rounds so short that most are not interrupted by whatever else the machine does,
// and reports how fast the first is beside the second, by the medians of the rounds.
func compare(b *testing.B, on, off *side, units int, f func(b *testing.B, s *side, round int)) {
	for round := 0; b.Loop(); round++ {
		pair := []*side{on, off}
		if round%2 == 1 {
			slices.Reverse(pair)
		}
		for _, s := range pair {
			start := time.Now()
			f(b, s, round)
			s.times = append(s.times, time.Since(start))
		}
	}
	b.ReportMetric(float64(median(off.times))/float64(median(on.times)), "on/off")
	b.ReportMetric(float64(units)/median(on.times).Seconds(), "on/s")
	b.ReportMetric(float64(units)/median(off.times).Seconds(), "off/s")
	b.ReportMetric(0, "ns/op")
}

func bulk(b *testing.B, s *side, n int) {
	sqlExec(b, s.c, fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO t(v) SELECT randomblob(200) FROM n", n))
}

func sqlExec(b *testing.B, c *sqlite3.Conn, sql string) {
	if err := c.Exec(sql); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTDE compares TDE on with TDE off, on one engine and store. The metric on/off is to be at least 0.90 as a
// database is run: commits with fsync, pages in the cache. What is without fsync, and what is not in the cache, shows the
// cipher's full price: 8 KiB of AES-256-GCM for each page.
func BenchmarkTDE(b *testing.B) {
	pair := func(b *testing.B, rows int) (on, off *side) {
		on, off = newSide(b, true), newSide(b, false)
		for _, s := range []*side{on, off} {
			sqlExec(b, s.c, benchTable)
			if rows > 0 {
				bulk(b, s, rows)
			}
			if err := s.d.Checkpoint(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		return on, off
	}
	b.Run("bulk insert", func(b *testing.B) {
		on, off := pair(b, 0)
		compare(b, on, off, 1000, func(b *testing.B, s *side, _ int) { bulk(b, s, 1000) })
	})
	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("autocommit insert/fsync %v", sync), func(b *testing.B) {
			on, off := pair(b, 10_000)
			on.d.wal.noSync, off.d.wal.noSync = !sync, !sync
			n := 25
			if sync {
				n = 2
			}
			compare(b, on, off, n, func(b *testing.B, s *side, _ int) { inserts(b, s, n) })
		})
	}
	for _, cached := range []bool{true, false} {
		where := "pages in the cache"
		if !cached {
			where = "pages in the file"
		}
		pair := func(b *testing.B) (on, off *side) {
			on, off = pair(b, benchRows)
			if !cached {
				// An eighth of the pages is in the cache.
				on.d.cache, off.d.cache = newPageCache(int(on.d.Size()/8)), newPageCache(int(off.d.Size()/8))
			}
			return on, off
		}
		b.Run("point select/"+where, func(b *testing.B) {
			on, off := pair(b)
			compare(b, on, off, 300, func(b *testing.B, s *side, round int) { points(b, s, round, 300) })
		})
		b.Run("scan/"+where, func(b *testing.B) {
			on, off := pair(b)
			const rows = benchRows / 10
			compare(b, on, off, rows, func(b *testing.B, s *side, round int) {
				from := round % 10 * rows
				n, err := tryInt(s.c, fmt.Sprintf("SELECT sum(length(v)) FROM t WHERE id > %d AND id <= %d", from, from+rows))
				if err != nil || n != rows*200 {
					b.Fatal(n, err)
				}
			})
		})
	}
}

func inserts(b *testing.B, s *side, n int) {
	st, _, err := s.c.Prepare("INSERT INTO t(v) VALUES (randomblob(200))")
	if err != nil {
		b.Fatal(err)
	}
	defer closing(b, st)
	for range n {
		if err := st.Exec(); err != nil {
			b.Fatal(err)
		}
	}
}

func points(b *testing.B, s *side, seed, n int) {
	st, _, err := s.c.Prepare("SELECT length(v) FROM t WHERE id = ?")
	if err != nil {
		b.Fatal(err)
	}
	defer closing(b, st)
	r := rand.New(rand.NewPCG(1, uint64(seed)))
	for range n {
		if err := st.BindInt64(1, r.Int64N(benchRows)+1); err != nil {
			b.Fatal(err)
		}
		if !st.Step() || st.ColumnInt(0) != 200 {
			b.Fatal("row is missing", st.Err())
		}
		if err := st.Reset(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSQLCipher compares a database with TDE on with SQLCipher, on the same text of statements, both without fsync and
// with the same memory for caches, by the time used of the processors. The metric ours/sqlcipher is how fast we are beside it: SQLite in Go beside
// SQLite in C; sqlcipher-on/off is what its encryption costs it, beside on/off of BenchmarkTDE.
func BenchmarkSQLCipher(b *testing.B) {
	binary, err := exec.LookPath("sqlcipher")
	if err != nil {
		b.Skip("SKIPPED: Debian's sqlcipher is not installed (apt-get install sqlcipher)")
	}
	repeat := func(n int, format string) string {
		var t strings.Builder
		r := rand.New(rand.NewPCG(1, 2))
		for range n {
			fmt.Fprintf(&t, format+";\n", r.IntN(benchRows)+1)
		}
		return t.String()
	}
	const warm = "SELECT sum(length(v)) FROM t;\n"
	for name, script := range map[string]string{
		"bulk insert":       "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<30000) INSERT INTO t(v) SELECT randomblob(200) FROM n;\n",
		"autocommit insert": strings.Repeat("INSERT INTO t(v) VALUES (randomblob(200));\n", 2000),
		"point select":      repeat(5000, "SELECT length(v) FROM t WHERE id = %d"),
		"scan":              strings.Repeat(warm, 3),
	} {
		b.Run(name, func(b *testing.B) {
			cipher, open := newCipher(b, binary, true), newCipher(b, binary, false)
			ours := newSide(b, true)
			sqlExec(b, ours.c, benchTable)
			bulk(b, ours, benchRows)
			sqlExec(b, ours.c, warm)
			var base, theirs, openBase, openTheirs, own []time.Duration
			for b.Loop() {
				base = append(base, cipher.run(b, warm))
				theirs = append(theirs, cipher.run(b, warm+script))
				openBase = append(openBase, open.run(b, warm))
				openTheirs = append(openTheirs, open.run(b, warm+script))
				start := cpuTime(b)
				sqlExec(b, ours.c, script)
				own = append(own, cpuTime(b)-start)
			}
			b.ReportMetric(float64(median(theirs)-median(base))/float64(median(own)), "ours/sqlcipher")
			b.ReportMetric(float64(median(openTheirs)-median(openBase))/float64(median(theirs)-median(base)), "sqlcipher-on/off")
			b.ReportMetric(0, "ns/op")
		})
	}
}

const benchTable = "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)"

// sqlcipher is a database of SQLCipher's.
type sqlcipher struct{ binary, file, setup string }

func newCipher(b *testing.B, binary string, encrypt bool) sqlcipher {
	key := fmt.Sprintf("PRAGMA page_size = %d; ", PageSize)
	if encrypt {
		key = fmt.Sprintf("PRAGMA key = \"x'%064d'\"; PRAGMA cipher_page_size = %d; ", 7, PageSize)
	}
	c := sqlcipher{binary: binary, file: filepath.Join(b.TempDir(), "cipher.db"), setup: key + fmt.Sprintf(
		"PRAGMA synchronous = off; PRAGMA journal_mode = memory; PRAGMA cache_size = -%d;\n",
		2048+defaultCachePages*PageSize/1024)}
	c.run(b, benchTable+fmt.Sprintf("; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO t(v) SELECT randomblob(200) FROM n;\n", benchRows))
	data, err := os.ReadFile(c.file)
	if err != nil || strings.Contains(string(data), "SQLite format 3") == encrypt {
		b.Fatal("SQLCipher did not encrypt", err)
	}
	return c
}

func (c sqlcipher) run(b *testing.B, sql string) time.Duration {
	cmd := exec.CommandContext(b.Context(), c.binary, "-batch", "-bail", c.file)
	cmd.Stdin = strings.NewReader(c.setup + sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %.300s", err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// cpuTime is what this process has used of the processors, background work and garbage collection included.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	ok(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRewrap compares the time of a change of protector of a database of 1 GiB with that of one of 1 MiB, with fsync.
// The metric big/small is to be at most 1.2.
func BenchmarkRewrap(b *testing.B) {
	key := newKey(b, "dek", "A1")
	build := func(mib int) *DB {
		o := options(b.TempDir(), newVault())
		d := must[*DB](b)(Create(b.Context(), o, "db", key))
		c := must[*sqlite3.Conn](b)(d.Conn(b.Context()))
		sqlExec(b, c, "CREATE TABLE t(v BLOB)")
		for left := mib; left > 0; left -= 32 {
			sqlExec(b, c, fmt.Sprintf("INSERT INTO t VALUES (zeroblob(%d))", min(left, 32)<<20))
		}
		ok(b, d.Checkpoint(b.Context()))
		ok(b, c.Close())
		ok(b, d.Close())
		o.NoSync = false
		return open4(b, o)
	}
	small, big := build(1), build(1024)
	if big.Size() < 1<<30/PageSize {
		b.Fatal("the big database has", big.Size(), "pages")
	}
	wrappings := []WrappedDEK{rewrapped(key, "B2"), rewrapped(key, "A1")}
	times := map[*DB][]time.Duration{}
	for b.Loop() {
		for i := range 21 {
			for _, d := range []*DB{small, big} {
				start := time.Now()
				ok(b, d.Rewrap(b.Context(), wrappings[i%2]))
				times[d] = append(times[d], time.Since(start))
			}
		}
	}
	b.ReportMetric(float64(median(times[big]))/float64(median(times[small])), "big/small")
	b.ReportMetric(float64(median(times[big]).Microseconds()), "big-us")
	b.ReportMetric(float64(median(times[small]).Microseconds()), "small-us")
}

// BenchmarkSlot is the cost of one page: sealed, opened, and as a plain one.
func BenchmarkSlot(b *testing.B) {
	k, err := newDEK("dek", newKey(b, "dek", "A1").Key)
	ok(b, err)
	var ring keyring
	_, err = ring.add(k)
	ok(b, err)
	page, slot, work, nonce := make([]byte, PageSize), make([]byte, slotSize), make([]byte, slotSize), make([]byte, nonceSize)
	for name, k := range map[string]*dek{"sealed": k, "plain": nil} {
		sealSlot(slot, k, 1, 1, page, nonce)
		b.Run(name+"/write", func(b *testing.B) {
			b.SetBytes(PageSize)
			for b.Loop() {
				sealSlot(work, k, 1, 1, page, nonce)
			}
		})
		b.Run(name+"/read", func(b *testing.B) {
			b.SetBytes(PageSize)
			for b.Loop() {
				copy(work, slot)
				if _, err := ring.openSlot(work, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
