package lab

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/fault"
)

// handleFaults serves the faults on the control endpoint: GET tells them, PUT
// replaces them by the body, POST adds the body's, DELETE clears them. A body
// is text, a rule a line.
func (l *Lab) handleFaults(mux *http.ServeMux) {
	mux.HandleFunc("GET /_lab/faults", l.owned(func(w http.ResponseWriter, _ *http.Request) { answer(w, l.Faults(), nil) }))
	change := func(set func(text string) error) http.HandlerFunc {
		return l.owned(func(w http.ResponseWriter, r *http.Request) {
			text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
			if err == nil {
				err = set(string(text))
			}
			if syntax, is := IsFaultSyntax(err); is {
				err = arm.Refuse(http.StatusBadRequest, "InvalidFault", "%s", syntax)
			}
			answer(w, l.Faults(), err)
		})
	}
	mux.HandleFunc("PUT /_lab/faults", change(l.SetFaults))
	mux.HandleFunc("POST /_lab/faults", change(l.AddFaults))
	mux.HandleFunc("DELETE /_lab/faults", change(func(string) error { return l.SetFaults("") }))
}

// Faults asks for the faults that are in force, and what they have struck.
func (r *Remote) Faults(ctx context.Context) (state fault.State, err error) {
	return state, r.call(ctx, http.MethodGet, "/faults", &state)
}

// SetFaults puts a text of faults in force in place of the one before.
func (r *Remote) SetFaults(ctx context.Context, text string) (state fault.State, err error) {
	return state, r.send(ctx, http.MethodPut, "/faults", strings.NewReader(text), &state)
}

// AddFaults puts further faults in force.
func (r *Remote) AddFaults(ctx context.Context, text string) (state fault.State, err error) {
	return state, r.send(ctx, http.MethodPost, "/faults", strings.NewReader(text), &state)
}

// ClearFaults takes all faults back.
func (r *Remote) ClearFaults(ctx context.Context) error {
	return r.call(ctx, http.MethodDelete, "/faults", nil)
}
