// Package provisional reads the encryption state of databases from a lab's
// control endpoint. It stands in until the lab has a SQL endpoint and the
// state is read with a SQL client, on the lab as on Azure; then it is deleted.
package provisional

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/crosskeys/crosskeys/tde"
)

// LabReader reads encryption state from a lab. It is safe for concurrent use.
type LabReader struct {
	Control    string // such as https://localhost:8443/_lab
	Audience   string // of Resource Manager
	Credential azcore.TokenCredential
	Transport  policy.Transporter
}

// answerLimit bounds an answer, in bytes.
const answerLimit = 1 << 16

// ReadEncryption reads one database's row.
func (r *LabReader) ReadEncryption(ctx context.Context, server tde.Server, database string) (tde.EncryptionState, error) {
	token, err := r.Credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{r.Audience + "/.default"}})
	if err != nil {
		return tde.EncryptionState{}, fmt.Errorf("read encryption state of %s: %w", database, err)
	}
	address := r.Control + "/encryption?server=" + url.QueryEscape(server.Name) + "&database=" + url.QueryEscape(database)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return tde.EncryptionState{}, fmt.Errorf("read encryption state of %s: %w", database, err)
	}
	request.Header.Set("Authorization", "Bearer "+token.Token)
	answer, err := r.Transport.Do(request)
	if err != nil {
		return tde.EncryptionState{}, fmt.Errorf("read encryption state of %s: %w", database, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit))
	if err != nil {
		return tde.EncryptionState{}, fmt.Errorf("read encryption state of %s: %w", database, err)
	}
	if answer.StatusCode != http.StatusOK {
		return tde.EncryptionState{}, fmt.Errorf("read encryption state of %s on %s: the lab answered %s", database, server.Name, answer.Status)
	}
	return parse(text)
}

func parse(text []byte) (tde.EncryptionState, error) {
	var row struct {
		State     int    `json:"encryption_state"`
		Type      string `json:"encryptor_type"`
		Encryptor string `json:"encryptor_thumbprint"`
		Algorithm string `json:"key_algorithm"`
		Length    int    `json:"key_length"`
	}
	if err := json.Unmarshal(text, &row); err != nil {
		return tde.EncryptionState{}, fmt.Errorf("read encryption state: %w", err)
	}
	return tde.EncryptionState{
		State: row.State, EncryptorType: row.Type, Thumbprint: tde.NormalizeThumbprint(row.Encryptor), KeyAlgorithm: row.Algorithm, KeyLength: row.Length,
	}, nil
}
