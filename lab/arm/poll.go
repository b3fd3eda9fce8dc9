package arm

import (
	"context"
	"net/http"
	"strings"

	"github.com/crosskeys/crosskeys/lab/store"
)

// PollRoutes are the routes under which a provider's operations are polled:
// at subscription and at resource-group scope, each answering only for
// operations of that scope.
func (o *Operations) PollRoutes(namespace string) []Route {
	const group = "/resourceGroups/{resourceGroupName}"
	tail := "/providers/" + namespace + "/locations/{locationName}/{operationKind}/{operationId}"
	return []Route{
		{Method: http.MethodGet, Pattern: "/subscriptions/{subscriptionId}" + tail, Action: "-", Handle: o.poll},
		{Method: http.MethodGet, Pattern: "/subscriptions/{subscriptionId}" + group + tail, Action: "-", Handle: o.poll},
	}
}

func (o *Operations) poll(_ context.Context, r *Request) (*Response, error) {
	var op Operation
	var body any
	err := o.store.View(func(tx *store.Tx) error {
		found := false
		var err error
		op, found, err = o.Find(tx, r.Param("operationId"))
		if err != nil {
			return err
		}
		if !found || !o.addressed(r, op) {
			return Refuse(http.StatusNotFound, "OperationIdNotFound", "Operation Id '%s' was not found.", r.Param("operationId"))
		}
		if op.Status == Succeeded && isResult(r) {
			body, err = o.result(tx, op)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	o.retryAfter(header, op)
	if !isResult(r) {
		return &Response{Status: http.StatusOK, Header: header, Body: statusOf(op)}, nil
	}
	switch op.Status {
	case InProgress:
		header.Set("Location", o.url(r.HTTP, op, "OperationResults"))
		return &Response{Status: http.StatusAccepted, Header: header, Body: statusOf(op)}, nil
	case Failed:
		return nil, op.Failure.refusal()
	}
	if body == nil {
		return &Response{Status: http.StatusNoContent, Header: header}, nil
	}
	return &Response{Status: http.StatusOK, Header: header, Body: body}, nil
}

func (o *Operations) result(tx *store.Tx, op Operation) (any, error) {
	o.mu.Lock()
	k := o.kinds[op.Kind]
	o.mu.Unlock()
	if k.result == nil {
		return nil, nil
	}
	return k.result(tx, op)
}

func isResult(r *Request) bool {
	return strings.HasSuffix(strings.ToLower(r.Param("operationKind")), "operationresults")
}

// addressed reports whether the URL is one that the operation was given:
// nothing may be polled under another scope or another kind's name.
func (o *Operations) addressed(r *Request, op Operation) bool {
	kind := strings.ToLower(r.Param("operationKind"))
	segment := strings.ToLower(op.Segment)
	return op.Segment != "" &&
		(kind == segment+"azureasyncoperation" || kind == segment+"operationresults") &&
		strings.EqualFold(r.Param("subscriptionId"), op.Subscription) &&
		strings.EqualFold(r.params["resourceGroupName"], op.ResourceGroup)
}

type operationStatus struct {
	Name      string `json:"name"`
	Status    string `json:"status"`
	StartTime string `json:"startTime"`
	Error     *Error `json:"error,omitempty"`
}

func statusOf(op Operation) operationStatus {
	status := operationStatus{Name: op.ID, Status: op.Status, StartTime: Timestamp(op.StartedAt)}
	if op.Failure != nil {
		status.Error = op.Failure.refusal()
	}
	return status
}
