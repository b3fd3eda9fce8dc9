package keyvault

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"sync"
)

// rsaPool keeps a few RSA keys ready, since generating one takes up to a
// second. It starts with the first key that is asked for, works in the
// background until it is full, and then rests. It is safe for concurrent use.
type rsaPool struct {
	generate func(bits int) (*rsa.PrivateKey, error)
	given    bool // by the service's options: nothing is kept ready

	mu      sync.Mutex
	ready   map[int][]*rsa.PrivateKey // by size in bits
	filling map[int]bool
}

// newRSAPool makes a pool of the keys that generate makes; nil: new ones.
func newRSAPool(generate func(bits int) (*rsa.PrivateKey, error)) *rsaPool {
	given := generate != nil
	if !given {
		generate = generateRSA
	}
	return &rsaPool{generate: generate, given: given, ready: map[int][]*rsa.PrivateKey{}, filling: map[int]bool{}}
}

// roomFor is how many keys of a size are kept: none of the largest, which are
// rare and would keep a core busy for seconds.
func roomFor(bits int) int {
	switch bits {
	case 2048:
		return 3
	case 3072:
		return 1
	}
	return 0
}

// take gives a key that nobody else gets.
func (p *rsaPool) take(bits int) (*rsa.PrivateKey, error) {
	if p.given {
		return p.generate(bits)
	}
	p.mu.Lock()
	var key *rsa.PrivateKey
	if ready := p.ready[bits]; len(ready) > 0 {
		key, p.ready[bits] = ready[len(ready)-1], ready[:len(ready)-1]
	}
	if !p.filling[bits] && len(p.ready[bits]) < roomFor(bits) {
		p.filling[bits] = true
		go p.fill(bits)
	}
	p.mu.Unlock()
	if key != nil {
		return key, nil
	}
	return p.generate(bits)
}

func (p *rsaPool) fill(bits int) {
	for {
		key, err := p.generate(bits)
		p.mu.Lock()
		if err == nil {
			p.ready[bits] = append(p.ready[bits], key)
		}
		if err != nil || len(p.ready[bits]) >= roomFor(bits) {
			p.filling[bits] = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

func generateRSA(bits int) (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("generate RSA key of %d bits: %w", bits, err)
	}
	return key, nil
}
