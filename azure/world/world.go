// Package world is Azure as the executor sees it: one component, and the calls
// that the steps of a plan make.
package world

import (
	"context"
	"errors"
	"net/http"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
)

// World is a run.World of one component. It is safe for concurrent use.
type World struct {
	*azure.Cloud
	// Target leads to the component.
	Target azure.Target
}

// Observe reads the whole component.
func (w *World) Observe(ctx context.Context) (tde.Topology, error) {
	t, err := w.Cloud.Observe(ctx, w.Target)
	return t, callError(err)
}

// ReadProtector reads a server's active protector. What is read for a step does
// not wait for what is read of the whole component.
func (w *World) ReadProtector(ctx context.Context, server tde.Server) (tde.Protector, error) {
	protector, err := w.Cloud.ReadProtector(azure.InHand(ctx), server)
	return protector, callError(err)
}

// ReadKeys reads a server's registered keys.
func (w *World) ReadKeys(ctx context.Context, server tde.Server) ([]tde.ServerKey, error) {
	keys, err := w.Cloud.ReadKeys(azure.InHand(ctx), server)
	return keys, callError(err)
}

// ReadGroup reads a failover group from all its members.
func (w *World) ReadGroup(ctx context.Context, group tde.FailoverGroup, servers []tde.Server) (tde.FailoverGroup, []tde.ReplicationLink, error) {
	read, links, err := w.ReadFailoverGroup(azure.InHand(ctx), group, servers)
	return read, links, callError(err)
}

func serverOf(s plan.Step) tde.Server {
	return tde.Server{Name: s.Server, ResourceGroup: s.ResourceGroup, Subscription: s.Subscription}
}

// Act makes the step's call and follows its operation to the end.
func (w *World) Act(ctx context.Context, s plan.Step, accepted func(run.Accepted) error) (run.Answer, error) {
	told := func(token, request string) error {
		return accepted(run.Accepted{Operation: string(operationOf(s)), ResumeToken: token, RequestID: request})
	}
	// The SDK repeats a call by itself; each time it is asked anew whether the
	// run still may.
	ctx = azure.BeforeEachChange(ctx, run.Permitted)
	var err error
	switch s.Kind {
	case plan.Grant:
		err = w.grant(ctx, s)
	case plan.Register:
		err = w.RegisterKey(ctx, serverOf(s), s.Key, told)
	case plan.SetProtector:
		err = w.SetProtector(ctx, serverOf(s), tde.Protector{Key: s.Key, AutoRotation: s.AutoRotation}, told)
	case plan.PlannedFailover:
		err = w.PlannedFailover(ctx, serverOf(s), s.Group, told)
	case plan.VerifyEncryption:
		err = errors.New("a verification is no call")
	}
	return run.Answer{Status: http.StatusOK}, callError(err)
}

func (w *World) grant(ctx context.Context, s plan.Step) error {
	if s.RBAC {
		return w.AssignCryptoRole(ctx, s.VaultID, s.PrincipalID)
	}
	return w.GrantAccessPolicy(ctx, s.VaultID, s.PrincipalID)
}

func operationOf(s plan.Step) azure.Operation {
	switch s.Kind {
	case plan.Register:
		return azure.RegisteringKey
	case plan.SetProtector:
		return azure.SettingProtector
	case plan.PlannedFailover:
		return azure.FailingOver
	case plan.Grant, plan.VerifyEncryption:
	}
	return ""
}

// Await follows an operation that an earlier process began to its end.
func (w *World) Await(ctx context.Context, s plan.Step, token string) (run.Answer, error) {
	return run.Answer{Status: http.StatusOK}, callError(w.Resume(ctx, serverOf(s), operationOf(s), token))
}

// callError says a failure in the executor's words. What Azure did not answer
// is lost: it may have taken effect.
func callError(err error) error {
	if err == nil {
		return nil
	}
	service, ok := errors.AsType[*azure.ServiceError](err)
	if !ok {
		return err
	}
	return &run.CallError{
		Code: service.Code, Status: service.Status, Message: service.Message, RequestID: service.RequestID, Hint: service.Hint,
		InPoll: service.InPoll, Lost: service.Status == 0 && !service.NotSent, Retryable: service.Retryable, RetryAfter: service.RetryAfter, Err: err,
	}
}
