// Package azure is the tool's only way to the real cloud, through Microsoft's
// SDK for Go: it observes a geo-linked component as one tde.Topology and makes
// the calls that change it. A lab is only another cloud configuration.
package azure

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/sql/armsql/v2"
)

// Config says how the cloud is reached.
type Config struct {
	Cloud          cloud.Configuration
	SubscriptionID string // empty: every subscription that the caller sees
	Transport      policy.Transporter
	Credential     azcore.TokenCredential // nil: azidentity's default chain
	Databases      DatabaseReader         // nil: the databases are not asked
	Now            func() time.Time
	Log            *slog.Logger // nil: nobody is told; debug: waits for the throttling budget
}

// Cloud is a connection. It is safe for concurrent use.
type Cloud struct {
	config Config
	cred   azcore.TokenCredential
	arm    *arm.ClientOptions
}

// Connect makes a connection; nothing is called yet.
func Connect(c Config) (*Cloud, error) {
	options := policy.ClientOptions{Cloud: c.Cloud, Transport: c.Transport}
	cred := c.Credential
	if cred == nil {
		var err error
		cred, err = azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options})
		if err != nil {
			return nil, fmt.Errorf("sign in: %w", err)
		}
	}
	budget := newBudget(c.Now, c.Log)
	options.PerCallPolicies = []policy.Policy{numbering{budget}}
	// Leave is asked last, after any waiting.
	options.PerRetryPolicies = []policy.Policy{budget, permitting{}}
	return &Cloud{config: c, cred: cred, arm: &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true}}, nil
}

func (c *Cloud) sql(subscription string) (*armsql.ClientFactory, error) {
	return armsql.NewClientFactory(subscription, c.cred, c.arm)
}
