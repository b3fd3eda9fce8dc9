package lab

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/store"
)

// Status is what a running lab says of itself.
type Status struct {
	PID        int       `json:"pid"`
	Dir        string    `json:"dir"`
	BaseURL    string    `json:"baseUrl"`
	ProxyURL   string    `json:"proxyUrl"`
	Now        time.Time `json:"now"`
	ClockAhead string    `json:"clockAhead"`
	Latency    string    `json:"latency"`
	Running    []string  `json:"runningOperations"`
	// Events counts what the servers did by themselves; Lost is what forced
	// failovers threw away.
	Events         int               `json:"events"`
	Lost           []sqlserver.Event `json:"lost,omitempty"`
	SubscriptionID string            `json:"subscriptionId"`
	TenantID       string            `json:"tenantId"`
	ClientID       string            `json:"clientId"`
}

// Status tells how the lab is.
func (l *Lab) Status() (Status, error) {
	status := Status{
		PID: os.Getpid(), Dir: l.dir, BaseURL: l.BaseURL(), ProxyURL: l.ProxyURL(), Now: l.clock.Now(), ClockAhead: l.clock.Offset().String(),
		Latency: l.options.Latency.Name(), Running: []string{}, SubscriptionID: SubscriptionID, TenantID: TenantID, ClientID: ClientID,
	}
	err := l.store.View(func(tx *store.Tx) error {
		running, err := l.operations.Running(tx)
		for _, op := range running {
			status.Running = append(status.Running, op.Kind)
		}
		return err
	})
	if err != nil {
		return status, err
	}
	events, err := l.Events()
	status.Events = len(events)
	for _, event := range events {
		if event.Transactions > 0 {
			status.Lost = append(status.Lost, event)
		}
	}
	return status, err
}

// Events lists what the servers did by themselves, oldest first: databases
// that lost their keys and came back, and what forced failovers lost.
func (l *Lab) Events() ([]sqlserver.Event, error) {
	events, err := l.sql.Events()
	if events == nil {
		events = []sqlserver.Event{}
	}
	return events, err
}

// Done is closed when somebody asked the lab to stop by its control endpoint.
func (l *Lab) Done() <-chan struct{} { return l.done }

// controlHandler answers the lab's own calls under /_lab/, which Azure does
// not have: status, clock, stop, and the encryption state that stands in for
// the SQL endpoint.
func (l *Lab) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_lab/status", l.owned(func(w http.ResponseWriter, _ *http.Request) {
		status, err := l.Status()
		answer(w, status, err)
	}))
	mux.HandleFunc("POST /_lab/clock/advance", l.owned(l.controlAdvance))
	mux.HandleFunc("POST /_lab/seed", l.owned(func(w http.ResponseWriter, r *http.Request) {
		err := l.SeedArticle(r.Context(), SeedOptions{WithoutGrants: r.URL.Query().Get("withoutGrants") == "true"})
		answer(w, map[string]bool{"seeded": true}, err)
	}))
	mux.HandleFunc("POST /_lab/stop", l.owned(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]bool{"stopping": true}, nil)
		l.stopOnce.Do(func() { close(l.done) })
	}))
	mux.HandleFunc("GET /_lab/events", l.owned(func(w http.ResponseWriter, _ *http.Request) {
		events, err := l.Events()
		answer(w, events, err)
	}))
	l.handleFaults(mux)
	l.handleMonitor(mux)
	return mux
}

// owned lets only those in who can read the state folder.
func (l *Lab) owned(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if subtle.ConstantTimeCompare([]byte(token), []byte(l.control)) != 1 {
			answer(w, nil, arm.Refuse(http.StatusUnauthorized, "Unauthorized", "The lab's control token is wrong: it stands in lab.json in the state folder."))
			return
		}
		next(w, r)
	}
}

func (l *Lab) controlAdvance(w http.ResponseWriter, r *http.Request) {
	by, err := time.ParseDuration(r.URL.Query().Get("by"))
	if err != nil || by <= 0 {
		answer(w, nil, arm.Refuse(http.StatusBadRequest, "InvalidDuration", "by=%s is not a positive duration such as 36h or 10m.", r.URL.Query().Get("by")))
		return
	}
	err = l.Advance(by)
	answer(w, map[string]time.Time{"now": l.clock.Now()}, err)
}

func answer(w http.ResponseWriter, body any, err error) {
	status := http.StatusOK
	if err != nil {
		refusal := arm.AsError(err)
		status, body = refusal.Status, map[string]any{"error": refusal}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have gone
}

// EncryptionState reads the row of sys.dm_database_encryption_keys of a
// database.
func (l *Lab) EncryptionState(server, database string) (sqlserver.EncryptionState, error) {
	row, found, err := l.sql.EncryptionState(server, database)
	if err == nil && !found {
		err = arm.Refuse(http.StatusNotFound, "ResourceNotFound", "There is no database '%s' on server '%s'.", database, server)
	}
	return row, err
}

// Serves reports whether Resource Manager has a route for a method and path.
func (l *Lab) Serves(method, path string) bool { return l.front.Serves(method, path) }
