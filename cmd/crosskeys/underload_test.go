package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	sdkcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"

	"github.com/crosskeys/crosskeys/lab"
	"github.com/crosskeys/crosskeys/load"
)

// processes runs crosskeys itself, lab and tool, as processes that can be
// killed.
type processes struct {
	t       *testing.T
	folder  string
	binary  string
	ports   []string
	mu      sync.Mutex
	current *exec.Cmd
	output  bytes.Buffer
}

func newProcesses(t *testing.T) *processes {
	t.Helper()
	p := &processes{t: t, folder: t.TempDir(), binary: filepath.Join(t.TempDir(), "crosskeys")}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, p.binary) // TestMain runs main under this name
	}
	if err != nil {
		t.Fatal(err)
	}
	p.ports = freePorts(t, 3)
	t.Cleanup(p.kill)
	return p
}

// freePorts finds loopback ports that a lab can have again after it was killed.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var addresses []string
	for range n {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, listener.Addr().String())
		defer func() { _ = listener.Close() }()
	}
	return addresses
}

func (p *processes) dir() string { return filepath.Join(p.folder, "lab") }

// start starts the lab and waits until it answers.
func (p *processes) start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	process := exec.Command(p.binary, "lab", "up", "--foreground", "--dir", p.dir(), "--https-addr", p.ports[0], "--proxy-addr", p.ports[1], "--sql-addr", p.ports[2]) //nolint:noctx // killed by the test
	process.Stderr = &p.output
	if err := process.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.current = process
	p.await()
}

func (p *processes) await() {
	p.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		if _, err := lab.Find(p.t.Context(), p.dir()); err == nil {
			return
		} else if time.Now().After(deadline) {
			p.t.Fatalf("the lab does not come up: %v\n%s", err, p.output.String())
		}
		<-time.After(10 * time.Millisecond)
	}
}

// kill ends the lab as a power switch would.
func (p *processes) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil {
		_ = p.current.Process.Kill()
		_ = p.current.Wait()
		p.current = nil
	}
}

// tool runs a verb in the lab.
func (p *processes) tool(words ...string) (string, error) {
	command := exec.CommandContext(p.t.Context(), p.binary, append([]string{"lab", "exec", "--dir", p.dir(), "--", p.binary}, words...)...)
	command.Dir = p.folder
	command.Env = append(os.Environ(), "XDG_STATE_HOME="+p.folder)
	text, err := command.CombinedOutput()
	return string(text), err
}

// insist runs a verb until it succeeds: the lab may be killed under it, and
// applying again goes on.
func (p *processes) insist(words ...string) {
	p.t.Helper()
	var text string
	var err error
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); {
		if text, err = p.tool(words...); err == nil {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	p.t.Fatalf("crosskeys %v: %v\n%s", words, err, text)
}

// workload is a load that runs beside the test.
type workload struct {
	options load.Options
	stop    context.CancelFunc
	done    chan struct{}
	result  load.Result
	err     error
}

func (p *processes) load(database string) *workload {
	p.t.Helper()
	connected, err := (&labSQL{dir: p.dir()}).connect(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	table := load.Table{Options: connected, Listener: hostOf(lab.ArticleFailoverGroup), Database: database, Name: load.DefaultTable}
	if err := table.Create(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	name := make([]byte, 16)
	_, _ = rand.Read(name)
	header := load.Header{Run: hex.EncodeToString(name), Listener: table.Listener, Database: database, Table: table.Name, StartedAt: time.Now().UTC()}
	ctx, stop := context.WithCancel(p.t.Context())
	w := &workload{stop: stop, done: make(chan struct{}), options: load.Options{
		Open: table.Open, Ledger: load.NewLedger(header), Writers: 3, Readers: 1, Rate: 200, GiveUp: time.Minute,
		Backoff: load.Backoff{First: 5 * time.Millisecond, Max: 100 * time.Millisecond},
		Now:     time.Now, Wait: wait, Random: rand.Reader,
	}}
	go func() {
		defer close(w.done)
		w.result, w.err = load.Run(ctx, w.options)
	}()
	return w
}

func (w *workload) end(t *testing.T) load.Result {
	t.Helper()
	w.stop()
	<-w.done
	if w.err != nil && !errors.Is(w.err, context.Canceled) {
		t.Fatal(w.err)
	}
	if w.result.Verification == nil {
		t.Fatal("the load was not compared with its table")
	}
	return w.result
}

func seedOf(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv("CROSSKEYS_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return seed
	}
	return uint64(time.Now().UnixNano())
}

// The whole move and both failovers under load, with the lab killed at random
// moments: no acknowledged write is lost.
func TestCrashesUnderLoadLoseNoAcknowledgedWrite(t *testing.T) {
	runs := 6
	switch {
	case os.Getenv("CROSSKEYS_SOAK") != "":
		runs = 20
	case testing.Short():
		runs = 1
	}
	seed := seedOf(t)
	t.Logf("CROSSKEYS_SEED=%d", seed)
	var acknowledged, kills int64
	for n := range runs {
		t.Run(fmt.Sprintf("run %d", n+1), func(t *testing.T) {
			random := mathrand.New(mathrand.NewPCG(seed, uint64(n)))
			p := newProcesses(t)
			p.start()
			if text, err := p.tool("lab", "seed", "--dir", p.dir()); err != nil {
				t.Fatal(err, text)
			}
			w := p.load(lab.ArticleDatabases()[0])
			over, killed := make(chan struct{}), make(chan int64, 1)
			go func() { killed <- p.killNowAndThen(random, over) }()
			p.insist("plan", lab.ArticleFailoverGroup, "-o", "plan.json",
				"--protector", lab.ArticlePrimary+"="+lab.ArticlePrimaryKey, "--protector", lab.ArticleSecondary+"="+lab.ArticleSecondaryKey)
			p.insist("apply", "plan.json", "--yes")
			p.insist("drill", lab.ArticleFailoverGroup, "--failback", "--yes")
			close(over)
			kills += <-killed
			p.insist("verify", lab.ArticleFailoverGroup, "--plan", "plan.json")
			v := w.end(t).Verification
			acknowledged += v.Acknowledged
			if !v.OK || v.Lost != 0 || v.Acknowledged == 0 {
				t.Errorf("acknowledged %d, lost %d, twice %d, changed %d: %+v", v.Acknowledged, v.Lost, len(v.Duplicates), len(v.Corrupted), v.LostWrites)
			}
		})
	}
	t.Logf("%d runs, %d acknowledged writes, %d kills", runs, acknowledged, kills)
	if kills == 0 {
		t.Error("the lab was never killed")
	}
}

// killNowAndThen kills the lab after random pauses and starts it again.
func (p *processes) killNowAndThen(random *mathrand.Rand, over <-chan struct{}) (kills int64) {
	for kills < 3 {
		select {
		case <-over:
			return kills
		case <-time.After(100*time.Millisecond + time.Duration(random.Int64N(int64(900*time.Millisecond)))):
		}
		p.kill()
		p.start()
		kills++
	}
	return kills
}

// What a forced failover says was lost is what the ledger finds missing.
func TestForcedFailoverTellsExactlyWhatTheLedgerMisses(t *testing.T) {
	p := newProcesses(t)
	p.start()
	database := lab.ArticleDatabases()[0]
	if text, err := p.tool("lab", "seed", "--dir", p.dir()); err != nil {
		t.Fatal(err, text)
	}
	p.load(database).end(t) // the table is there, on both sides
	remote, err := lab.Find(t.Context(), p.dir())
	if err != nil {
		t.Fatal(err)
	}
	p.awaitInStep(database)
	if text, err := p.tool("lab", "fault", "add", "replica: delay 10m", "--dir", p.dir()); err != nil {
		t.Fatal(err, text)
	}
	w := p.load(database)
	<-time.After(time.Second)
	before := w.end(t)
	if before.Verification.Lost != 0 || before.Verification.Acknowledged == 0 {
		t.Fatalf("before the failover: %+v", before.Verification)
	}
	p.forceFailover(remote, lab.ArticleSecondary)
	after, err := load.Verify(t.Context(), w.options, w.options.Ledger.Writes())
	if err != nil {
		t.Fatal(err)
	}
	events, err := remote.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told uint64
	for _, event := range events {
		if event.Database == database {
			told += event.Transactions
		}
	}
	t.Logf("of %d acknowledged writes the ledger misses %d; the lab told of %d transactions", after.Acknowledged, after.Lost, told)
	if after.Lost == 0 || uint64(after.Lost) != told {
		t.Errorf("the ledger misses %d, the lab told of %d: %+v", after.Lost, told, events)
	}
}

// awaitInStep waits until the secondary has all that the primary has.
func (p *processes) awaitInStep(database string) {
	p.t.Helper()
	db := p.database(database)
	p.exec(db, "EXEC sp_wait_for_database_copy_sync @target_server = '"+lab.ArticleSecondary+"', @target_database = '"+database+"'")
}

func (p *processes) forceFailover(remote *lab.Remote, to string) {
	p.t.Helper()
	credential, options, err := remote.Clients(sdkcloud.AzurePublic)
	if err != nil {
		p.t.Fatal(err)
	}
	client, err := armsql.NewFailoverGroupsClient(lab.SubscriptionID, credential, options)
	if err != nil {
		p.t.Fatal(err)
	}
	poller, err := client.BeginForceFailoverAllowDataLoss(p.t.Context(), lab.ArticleGroup, to, lab.ArticleFailoverGroup, nil)
	if err == nil {
		_, err = poller.PollUntilDone(p.t.Context(), nil)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}
