package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	sdkcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/crosskeys/crosskeys/azure"
	"github.com/crosskeys/crosskeys/azure/world"
	"github.com/crosskeys/crosskeys/run"
	"github.com/crosskeys/crosskeys/tde"
)

const cloudNames = "public, usgov, china, or the https address of a custom cloud's metadata (default $AZURE_CLOUD, else public)"

// azureCloud is the real cloud as the verbs see it.
type azureCloud struct {
	*azure.Cloud
	named     string
	databases *azure.SQLReader
}

// connectAzure signs in by the SDK's default chain. A lab differs from Azure
// in the environment's variables alone. Requests go through the transport; nil
// is the SDK's own.
func connectAzure(ctx context.Context, s settings, transport policy.Transporter) (cloud, error) {
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
		ClientOptions: policy.ClientOptions{Cloud: configuration, Transport: transport}, DisableInstanceDiscovery: os.Getenv("CROSSKEYS_DISABLE_INSTANCE_DISCOVERY") != "" || isCustom(configuration),
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
		Cloud: configuration, SubscriptionID: subscription, Transport: transport, Credential: credential, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(s.talk, &slog.HandlerOptions{Level: level})),
	}
	databases := &azure.SQLReader{Options: azure.SQLOptions(configuration, credential)}
	config.Databases = databases
	connected, err := azure.Connect(config)
	if err != nil {
		return nil, err
	}
	return azureCloud{Cloud: connected, named: named, databases: databases}, nil
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

func (c azureCloud) sql() *azure.SQLReader { return c.databases }

// principal is the application that signs in, where the environment names one.
func (c azureCloud) principal() string { return os.Getenv("AZURE_CLIENT_ID") }

func (c azureCloud) observe(ctx context.Context, t target) (tde.Topology, error) {
	return c.Observe(ctx, azureTarget(t))
}

func azureTarget(t target) azure.Target {
	name := t.name
	for _, other := range []string{t.group, t.server} {
		if name == "" {
			name = other
		}
	}
	return azure.Target{Name: name, ResourceGroup: t.resourceGroup, Subscription: t.subscription, Keys: t.keys}
}

func (c azureCloud) world(t target) run.World {
	return &world.World{Cloud: c.Cloud, Target: azureTarget(t)}
}
