package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
)

// accessFile is where a running lab says how it is reached.
const accessFile = "lab.json"

// ErrNotRunning is returned by Find when no lab runs on the state folder.
var ErrNotRunning = errors.New("no lab is running here")

// Announce writes how the lab is reached into its state folder, for the
// owner's eyes alone.
func (l *Lab) Announce() error {
	text, err := json.MarshalIndent(l.Access(), "", "  ")
	if err != nil {
		return fmt.Errorf("announce the lab: %w", err)
	}
	if err := store.WriteFile(filepath.Join(l.dir, accessFile), text); err != nil {
		return fmt.Errorf("announce the lab: %w", err)
	}
	return nil
}

// Withdraw removes what Announce wrote.
func (l *Lab) Withdraw() error { return os.Remove(filepath.Join(l.dir, accessFile)) }

// Remote is a lab that runs in another process.
type Remote struct {
	Access Access
	client *http.Client
}

// Find finds the lab that runs on a state folder and makes sure that it
// answers; ErrNotRunning when none does.
func Find(ctx context.Context, dir string) (*Remote, error) {
	text, err := os.ReadFile(filepath.Join(dir, accessFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("state folder %s: %w", dir, ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("find the lab: %w", err)
	}
	remote := &Remote{}
	if err := json.Unmarshal(text, &remote.Access); err != nil {
		return nil, fmt.Errorf("find the lab: %s is broken: %w", accessFile, err)
	}
	authority, err := os.ReadFile(remote.Access.CAFile)
	if err != nil {
		return nil, fmt.Errorf("find the lab: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	remote.client = &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	if _, err := remote.Status(ctx); err != nil {
		return nil, fmt.Errorf("state folder %s: %w (%w)", dir, ErrNotRunning, err)
	}
	return remote, nil
}

// Status asks the lab how it is.
func (r *Remote) Status(ctx context.Context) (status Status, err error) {
	return status, r.call(ctx, http.MethodGet, "/status", &status)
}

// Advance moves the lab's clock forward and gives its new time.
func (r *Remote) Advance(ctx context.Context, by time.Duration) (time.Time, error) {
	var answer struct{ Now time.Time }
	err := r.call(ctx, http.MethodPost, "/clock/advance?by="+url.QueryEscape(by.String()), &answer)
	return answer.Now, err
}

// SeedArticle has the lab make the article's starting point.
func (r *Remote) SeedArticle(ctx context.Context, withoutGrants bool) error {
	return r.call(ctx, http.MethodPost, fmt.Sprintf("/seed?withoutGrants=%t", withoutGrants), nil)
}

// Stop asks the lab to stop.
func (r *Remote) Stop(ctx context.Context) error { return r.call(ctx, http.MethodPost, "/stop", nil) }

func (r *Remote) call(ctx context.Context, method, path string, into any) error {
	return r.send(ctx, method, path, nil, into)
}

func (r *Remote) send(ctx context.Context, method, path string, body io.Reader, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, r.Access.BaseURL+"/_lab"+path, body)
	if err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+r.Access.ControlToken)
	response, err := r.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		var refused struct{ Error arm.Error }
		if err := json.Unmarshal(text, &refused); err != nil {
			return fmt.Errorf("the lab answered %s", response.Status)
		}
		return &refused.Error
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("the lab's answer: %w", err)
	}
	return nil
}
