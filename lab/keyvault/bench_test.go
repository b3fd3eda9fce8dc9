package keyvault_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RSA-OAEP is defined with SHA-1
	"encoding/base64"
	"io"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/lab/latency"
)

// BenchmarkUnwrapKey compares unwrapKey over kept-alive TLS, client and server
// on the same cores, with bare crypto/rsa on those cores. The two take turns
// in short rounds, so that a busy machine slows both alike. The metric
// "of-bare-rsa" is the median of the rounds' ratios: 1 would be a vault that
// costs nothing.
func BenchmarkUnwrapKey(b *testing.B) {
	w := newWorld(b, latency.Instant())
	w.makeVault(b, "kv-bench", nil)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	must[azkeys.ImportKeyResponse](b)(w.keys(b, "kv-bench").ImportKey(b.Context(), "k", azkeys.ImportKeyParameters{Key: jwkOf(private)}, nil))
	wrapped, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, &private.PublicKey, bytes.Repeat([]byte{7}, 32), nil)
	if err != nil {
		b.Fatal(err)
	}
	overHTTPS := unwrapper(b, w, wrapped)
	bare := func() error {
		_, err := rsa.DecryptOAEP(sha1.New(), nil, private, wrapped, nil)
		return err
	}
	inParallel(b, 64, overHTTPS) // opens the connections
	const round = 100
	var ratios, rates []float64
	for b.Loop() {
		vault, alone := inParallel(b, round, overHTTPS), inParallel(b, round, bare)
		ratios = append(ratios, float64(alone)/float64(vault))
		rates = append(rates, round/vault.Seconds())
	}
	b.ReportMetric(median(ratios), "of-bare-rsa")
	b.ReportMetric(median(rates), "unwraps/s")
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// unwrapper sends one unwrapKey with as little client as there can be.
func unwrapper(b *testing.B, w *world, wrapped []byte) func() error {
	const address = "https://kv-bench.vault.azure.net/keys/k/unwrapkey?api-version=7.4"
	body := []byte(`{"alg":"RSA-OAEP","value":"` + base64.RawURLEncoding.EncodeToString(wrapped) + `"}`)
	header := http.Header{"Authorization": {"Bearer " + tokenFor(admin, vaultAudience).String()}, "Content-Type": {"application/json"}}
	return func() error {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, address, bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header = header
		response, err := w.client.Transport.RoundTrip(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			b.Errorf("answer %d", response.StatusCode)
		}
		return nil
	}
}

// inParallel does something n times on all cores and says how long it took.
func inParallel(b *testing.B, n int64, do func() error) time.Duration {
	start := time.Now()
	var left atomic.Int64
	left.Store(n)
	var work sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	work.Wait()
	return time.Since(start)
}
