package sqlserver

import (
	"context"
	"crypto/sha1" //nolint:gosec // a thumbprint names key material, it protects nothing
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/crosskeys/crosskeys/tde"
)

// VaultError is a vault's refusal, or the failure to reach one.
type VaultError struct {
	Status int    // 0 when the vault did not answer
	Code   string // the innermost code of the answer, such as KeyDisabled or ForbiddenByPolicy
	Err    error
}

// Error says what the vault answered.
func (e *VaultError) Error() string {
	return fmt.Sprintf("key vault answered %d %s: %v", e.Status, e.Code, e.Err)
}

// Unwrap gives the cause.
func (e *VaultError) Unwrap() error { return e.Err }

// TokenIssuer gives managed-identity tokens.
type TokenIssuer interface {
	Issue(objectID, audience string) (token string, expires time.Time, err error)
}

// KeyVault is the VaultAccess that goes over HTTPS with Microsoft's client.
// It is safe for concurrent use.
type KeyVault struct {
	tokens    TokenIssuer
	transport policy.Transporter

	mu      sync.Mutex
	clients map[string]*azkeys.Client // by principal and vault
}

// NewKeyVault makes a VaultAccess that sends its requests over transport.
func NewKeyVault(tokens TokenIssuer, transport policy.Transporter) *KeyVault {
	return &KeyVault{tokens: tokens, transport: transport, clients: map[string]*azkeys.Client{}}
}

// vaultAudience is the resource for which vaults take tokens.
const vaultAudience = "https://vault.azure.net"

type identityCredential struct {
	tokens    TokenIssuer
	principal string
}

// GetToken asks for a token as the managed identity.
func (c identityCredential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, _, err := c.tokens.Issue(c.principal, vaultAudience)
	// A short life on the machine's clock has the client ask again soon, so
	// that moving the lab's clock does not leave it with a stale token.
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Second)}, err //nolint:forbidigo // the SDK's cache runs on the machine's clock
}

func (v *KeyVault) client(principal string, key tde.KeyID) (*azkeys.Client, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name := principal + " " + key.Host
	if client := v.clients[name]; client != nil {
		return client, nil
	}
	client, err := azkeys.NewClient("https://"+key.Host, identityCredential{v.tokens, principal}, &azkeys.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Transport: v.transport,
			Retry:     policy.RetryOptions{MaxRetries: 1, RetryDelay: 50 * time.Millisecond, MaxRetryDelay: 200 * time.Millisecond},
			Telemetry: policy.TelemetryOptions{ApplicationID: "AzureSQL"},
		},
		DisableChallengeResourceVerification: !strings.HasSuffix(key.Host, ".vault.azure.net"),
	})
	if err != nil {
		return nil, fmt.Errorf("key vault client for %s: %w", key.Host, err)
	}
	v.clients[name] = client
	return client, nil
}

// Get reads a key version, or the latest when the URI has none.
func (v *KeyVault) Get(ctx context.Context, principal, uri string) (info KeyInfo, err error) {
	err = v.ask(principal, uri, func(key tde.KeyID, client *azkeys.Client) error {
		answer, err := client.GetKey(ctx, key.Name, key.Version, nil)
		info = keyInfo(answer.KeyBundle)
		return err
	})
	return info, err
}

func keyInfo(bundle azkeys.KeyBundle) KeyInfo {
	info := KeyInfo{}
	if k := bundle.Key; k != nil {
		if k.KID != nil {
			info.URI = string(*k.KID)
		}
		if k.Kty != nil {
			info.Kty = string(*k.Kty)
		}
		info.Bits = len(k.N) * 8
		info.Exponent = int(new(big.Int).SetBytes(k.E).Int64())
		info.Thumbprint = thumbprintOf(k.N, k.E)
		for _, op := range k.KeyOps {
			info.KeyOps = append(info.KeyOps, string(*op))
		}
	}
	if a := bundle.Attributes; a != nil {
		info.Enabled = a.Enabled != nil && *a.Enabled
		info.Created, info.NotBefore, info.Expires = timeOf(a.Created), timeOf(a.NotBefore), timeOf(a.Expires)
		if a.RecoveryLevel != nil {
			info.RecoveryLevel = *a.RecoveryLevel
		}
	}
	return info
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// thumbprintOf is the lab's thumbprint: 20 bytes that depend on the key
// material alone. How the service derives its own is not published.
func thumbprintOf(modulus, exponent []byte) string {
	sum := sha1.Sum(append(append([]byte{}, modulus...), exponent...)) //nolint:gosec // see the import
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// wrapAlgorithm is how DEKs are wrapped.
const wrapAlgorithm = azkeys.EncryptionAlgorithmRSAOAEP

// Wrap has the vault wrap a DEK.
func (v *KeyVault) Wrap(ctx context.Context, principal, uri string, dek []byte) (wrapped []byte, err error) {
	err = v.ask(principal, uri, func(key tde.KeyID, client *azkeys.Client) error {
		algorithm := wrapAlgorithm
		answer, err := client.WrapKey(ctx, key.Name, key.Version, azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: dek}, nil)
		wrapped = answer.Result
		return err
	})
	return wrapped, err
}

// Unwrap has the vault unwrap a DEK.
func (v *KeyVault) Unwrap(ctx context.Context, principal, uri string, wrapped []byte) (dek []byte, err error) {
	err = v.ask(principal, uri, func(key tde.KeyID, client *azkeys.Client) error {
		algorithm := wrapAlgorithm
		answer, err := client.UnwrapKey(ctx, key.Name, key.Version, azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: wrapped}, nil)
		dek = answer.Result
		return err
	})
	return dek, err
}

// ask asks a vault. Where it does not take the token, which the lab's clock may
// have outrun when it was moved, it is asked once more with a new one: a refused
// token says nothing of the server's rights.
func (v *KeyVault) ask(principal, uri string, do func(tde.KeyID, *azkeys.Client) error) error {
	key, client, err := v.open(principal, uri)
	if err != nil {
		return err
	}
	err = do(key, client)
	if answer, refused := errors.AsType[*azcore.ResponseError](err); refused && answer.StatusCode == http.StatusUnauthorized {
		v.forget(client)
		if key, client, err = v.open(principal, uri); err != nil {
			return err
		}
		err = do(key, client)
	}
	if err != nil {
		return vaultError(err)
	}
	return nil
}

// forget drops a client with the token that it keeps.
func (v *KeyVault) forget(client *azkeys.Client) {
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.DeleteFunc(v.clients, func(_ string, kept *azkeys.Client) bool { return kept == client })
}

func (v *KeyVault) open(principal, uri string) (tde.KeyID, *azkeys.Client, error) {
	key, err := tde.ParseKeyID(uri)
	if err != nil {
		return tde.KeyID{}, nil, err
	}
	client, err := v.client(principal, key)
	return key, client, err
}

// vaultError gives err as a *VaultError with the innermost code of the body.
func vaultError(err error) error {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return &VaultError{Err: err}
	}
	failure := &VaultError{Status: answer.StatusCode, Code: answer.ErrorCode, Err: err}
	if inner := innerCode(answer.RawResponse); inner != "" {
		failure.Code = inner
	}
	return failure
}

func innerCode(response *http.Response) string {
	if response == nil {
		return ""
	}
	body, err := bodyOf(response)
	if err != nil {
		return ""
	}
	var answer struct {
		Error struct {
			InnerError struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Error.InnerError.Code
}
