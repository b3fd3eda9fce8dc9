package keyvault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
)

// publicJWK is the public part of a key: n and e, or crv, x and y.
type publicJWK struct {
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

// base64url is a value of binary data in a request: base64url, padded or not.
type base64url []byte

// UnmarshalJSON decodes the text; null is no data.
func (b *base64url) UnmarshalJSON(text []byte) error {
	var encoded *string
	if err := json.Unmarshal(text, &encoded); err != nil || encoded == nil {
		return err
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*encoded, "="))
	if err != nil {
		return err
	}
	*b = data
	return nil
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// importJWK is a key as it is imported.
type importJWK struct {
	Kty    string    `json:"kty"`
	KeyOps []string  `json:"key_ops"`
	N      base64url `json:"n"`
	E      base64url `json:"e"`
	D      base64url `json:"d"`
	P      base64url `json:"p"`
	Q      base64url `json:"q"`
	Crv    string    `json:"crv"`
	X      base64url `json:"x"`
	Y      base64url `json:"y"`
	T      base64url `json:"key_hsm"`
}

// The key types.
const (
	ktyRSA    = "RSA"
	ktyRSAHSM = "RSA-HSM"
	ktyEC     = "EC"
	ktyECHSM  = "EC-HSM"
)

// checkKty refuses key types that the lab's vaults do not hold.
func checkKty(kty string) error {
	switch kty {
	case ktyRSA, ktyRSAHSM, ktyEC, ktyECHSM:
		return nil
	case "":
		return badParameter("Property kty is required.")
	case "oct", "oct-HSM":
		return notSupported("Key type %s is not supported: the lab's vaults hold RSA and EC keys.", kty)
	}
	return badParameter("The key type '%s' is invalid: it must be RSA, RSA-HSM, EC or EC-HSM.", kty)
}

// private reads the private key out of an imported JWK and checks that its
// parts belong together.
func (j importJWK) private() (crypto.Signer, error) {
	if len(j.T) > 0 {
		return nil, notSupported("Keys protected for transfer to an HSM (key_hsm) cannot be imported into the lab's vaults.")
	}
	if err := checkKty(j.Kty); err != nil {
		return nil, err
	}
	if strings.HasPrefix(j.Kty, ktyRSA) {
		return j.privateRSA()
	}
	return j.privateEC()
}

// maxExponentBits keeps e in the range that the standard library takes.
const maxExponentBits = 31

func (j importJWK) privateRSA() (crypto.Signer, error) {
	if len(j.N) == 0 || len(j.E) == 0 || len(j.D) == 0 || len(j.P) == 0 || len(j.Q) == 0 {
		return nil, badParameter("An RSA key needs n, e, d, p and q.")
	}
	modulus, exponent := new(big.Int).SetBytes(j.N), new(big.Int).SetBytes(j.E)
	// The service takes 1024 bits too, but only from outside.
	if bits := modulus.BitLen(); bits != 1024 && !isRSASize(bits) {
		return nil, badParameter("The size of the RSA key is %d bits: it must be 2048, 3072 or 4096.", bits)
	}
	if exponent.BitLen() > maxExponentBits {
		return nil, badParameter("The exponent of the RSA key is too large.")
	}
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: modulus, E: int(exponent.Int64())},
		D:         new(big.Int).SetBytes(j.D), Primes: []*big.Int{new(big.Int).SetBytes(j.P), new(big.Int).SetBytes(j.Q)},
	}
	// Numbers of any length would keep the checks busy for any time.
	for _, part := range append(key.Primes, key.D) {
		if part.BitLen() > modulus.BitLen() {
			return nil, badParameter("The RSA key is invalid: a part of it is larger than the modulus.")
		}
	}
	if err := key.Validate(); err != nil {
		return nil, badParameter("The RSA key is invalid: %s", err)
	}
	key.Precompute()
	return key, nil
}

func (j importJWK) privateEC() (crypto.Signer, error) {
	curve, err := curveOf(j.Crv)
	if err != nil {
		return nil, err
	}
	size := curveBytes(curve)
	if len(j.D) == 0 || len(j.X) == 0 || len(j.Y) == 0 {
		return nil, badParameter("An EC key needs crv, x, y and d.")
	}
	d, x, y := padded(j.D, size), padded(j.X, size), padded(j.Y, size)
	if d == nil || x == nil || y == nil {
		return nil, badParameter("The EC key is invalid: a value is too long for curve %s.", j.Crv)
	}
	key, err := ecdsa.ParseRawPrivateKey(curve, d)
	if err != nil {
		return nil, badParameter("The EC key is invalid: %s", err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, badParameter("The EC key is invalid: %s", err)
	}
	if !slices.Equal(point[1:], append(x, y...)) {
		return nil, badParameter("The EC key is invalid: x and y do not belong to d.")
	}
	return key, nil
}

// padded gives data with leading zeros at the size; nil when it is longer.
func padded(data []byte, size int) []byte {
	for len(data) > size && data[0] == 0 {
		data = data[1:]
	}
	if len(data) > size {
		return nil
	}
	return append(make([]byte, size-len(data), 2*size), data...)
}

// publicOf writes the public part of a key.
func publicOf(key crypto.Signer) publicJWK {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		return publicJWK{N: encode(public.N.Bytes()), E: encode(big.NewInt(int64(public.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			// The key was generated or checked by the standard library.
			panic("keyvault: EC public key is not on its curve")
		}
		size := curveBytes(public.Curve)
		return publicJWK{Crv: public.Curve.Params().Name, X: encode(point[1 : 1+size]), Y: encode(point[1+size:])}
	}
	panic("keyvault: key is neither RSA nor EC")
}

// curveOf finds a curve by its JWK name; an empty one is the service's
// default, P-256.
func curveOf(name string) (elliptic.Curve, error) {
	switch name {
	case "", "P-256":
		return elliptic.P256(), nil
	case "P-384":
		return elliptic.P384(), nil
	case "P-521":
		return elliptic.P521(), nil
	case "P-256K", "SECP256K1":
		return nil, notSupported("Curve %s is not supported: the lab's vaults know P-256, P-384 and P-521.", name)
	}
	return nil, badParameter("The curve '%s' is invalid: it must be P-256, P-384 or P-521.", name)
}

func curveBytes(curve elliptic.Curve) int { return (curve.Params().BitSize + 7) / 8 }

func isRSASize(bits int) bool { return bits == 2048 || bits == 3072 || bits == 4096 }

// opsFor checks the operations that a key is to be used for; none means those
// that its type has by default.
func opsFor(kty string, asked []string) ([]string, error) {
	known := []string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
	if strings.HasPrefix(kty, ktyEC) {
		known = []string{"sign", "verify"}
	}
	if len(asked) == 0 {
		return known, nil
	}
	// A key-exchange key is made to wrap others for import, and for nothing else.
	known = append(known, "import")
	ops := make([]string, 0, len(asked))
	for _, name := range asked {
		if !spell(&name, known...) || name == "" {
			return nil, badParameter("The key operation '%s' is invalid for a key of type '%s'.", name, kty)
		}
		ops = append(ops, name)
	}
	return ops, nil
}
