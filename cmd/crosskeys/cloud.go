package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	sdkcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/azure/provisional"
	"github.com/crosskeys/crosskeys/plan"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
)

const cloudNames = "public, usgov, china, or the https address of a custom cloud's metadata (default $AZURE_CLOUD, else public)"

// azureCloud is the real cloud as the verbs see it.
type azureCloud struct {
	*azure.Cloud
	named string
}

// connectAzure signs in by the SDK's default chain. A lab differs from Azure
// in the environment's variables alone.
func connectAzure(ctx context.Context, s settings) (cloud, error) {
	named := s.cloud
	if named == "" {
		named = os.Getenv("AZURE_CLOUD")
	}
	configuration, err := azure.Named(ctx, named, nil)
	if err != nil {
		return nil, err
	}
	if named == "" {
		named = "public"
	}
	credential, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: policy.ClientOptions{Cloud: configuration}, DisableInstanceDiscovery: os.Getenv("CROSSKEYS_DISABLE_INSTANCE_DISCOVERY") != "" || isCustom(configuration),
	})
	if err != nil {
		return nil, hinted(fmt.Errorf("sign in: %w", err), "az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET")
	}
	subscription := s.subscription
	if subscription == "" {
		subscription = os.Getenv("AZURE_SUBSCRIPTION_ID")
	}
	level := slog.LevelWarn
	if s.verbose {
		level = slog.LevelDebug
	}
	config := azure.Config{
		Cloud: configuration, SubscriptionID: subscription, Credential: credential, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(s.talk, &slog.HandlerOptions{Level: level})),
	}
	if control := os.Getenv("CROSSKEYS_LAB_CONTROL"); control != "" {
		config.Encryption = &provisional.LabReader{
			Control: control, Audience: configuration.Services[sdkcloud.ResourceManager].Audience, Credential: credential, Transport: http.DefaultClient,
		}
	}
	connected, err := azure.Connect(config)
	if err != nil {
		return nil, err
	}
	return azureCloud{Cloud: connected, named: named}, nil
}

// isCustom reports whether the authority is one that the sign-in library
// cannot know: it would ask the public cloud about it.
func isCustom(c sdkcloud.Configuration) bool {
	for _, known := range []sdkcloud.Configuration{sdkcloud.AzurePublic, sdkcloud.AzureGovernment, sdkcloud.AzureChina} {
		if c.ActiveDirectoryAuthorityHost == known.ActiveDirectoryAuthorityHost {
			return false
		}
	}
	return true
}

func (c azureCloud) name() string { return c.named }

// principal is the application that signs in, where the environment names one.
func (c azureCloud) principal() string { return os.Getenv("AZURE_CLIENT_ID") }

func (c azureCloud) observe(ctx context.Context, t target) (tde.Topology, error) {
	name := t.name
	for _, other := range []string{t.group, t.server} {
		if name == "" {
			name = other
		}
	}
	return c.Observe(ctx, azure.Target{Name: name, ResourceGroup: t.resourceGroup, Subscription: t.subscription, Keys: t.keys})
}

func (c azureCloud) world(t target) run.World { return &azureWorld{azureCloud: c, target: t} }

// azureWorld is Azure as the executor sees it: one component, and the calls
// that the steps of a plan make.
type azureWorld struct {
	azureCloud
	target target
}

// Observe reads the whole component.
func (w *azureWorld) Observe(ctx context.Context) (tde.Topology, error) {
	return w.observe(ctx, w.target)
}

// ReadGroup reads a failover group from all its members.
func (w *azureWorld) ReadGroup(ctx context.Context, group tde.FailoverGroup, servers []tde.Server) (tde.FailoverGroup, []tde.ReplicationLink, error) {
	return w.ReadFailoverGroup(ctx, group, servers)
}

func serverOf(s plan.Step) tde.Server {
	return tde.Server{Name: s.Server, ResourceGroup: s.ResourceGroup, Subscription: s.Subscription}
}

// Act makes the step's call and follows its operation to the end.
func (w *azureWorld) Act(ctx context.Context, s plan.Step, accepted func(run.Accepted) error) (run.Answer, error) {
	told := func(token, request string) error {
		return accepted(run.Accepted{Operation: string(operationOf(s)), ResumeToken: token, RequestID: request})
	}
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

func (w *azureWorld) grant(ctx context.Context, s plan.Step) error {
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
func (w *azureWorld) Await(ctx context.Context, s plan.Step, token string) (run.Answer, error) {
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
		InPoll: service.InPoll, Lost: service.Status == 0, Retryable: service.Retryable, Err: err,
	}
}
