package sqlserver

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/tde"
)

const (
	upsertProtector     = "UpsertLogicalServerEncryptionprotector"
	revalidateProtector = "RevalidateLogicalServerEncryptionProtector"
)

func (s *Service) protectorRoutes() []arm.Route {
	const path = serverPath + "/encryptionProtector"
	return []arm.Route{
		{Method: http.MethodGet, Pattern: path, Handle: s.listProtectors},
		{Method: http.MethodGet, Pattern: path + "/{encryptionProtectorName}", Handle: s.getProtector},
		{Method: http.MethodPut, Pattern: path + "/{encryptionProtectorName}", Handle: s.putProtector},
		{Method: http.MethodPost, Pattern: path + "/{encryptionProtectorName}/revalidate", Handle: s.revalidate},
	}
}

type protectorBody struct {
	Kind       string              `json:"kind"`
	Location   string              `json:"location,omitempty"`
	Properties protectorProperties `json:"properties"`
	ID         string              `json:"id"`
	Name       string              `json:"name"`
	Type       string              `json:"type"`
}

type protectorProperties struct {
	ServerKeyName       string `json:"serverKeyName"`
	ServerKeyType       string `json:"serverKeyType"`
	URI                 string `json:"uri,omitempty"`
	AutoRotationEnabled bool   `json:"autoRotationEnabled"`
}

func protectorView(server Server) protectorBody {
	body := protectorBody{
		Kind: kindServiceManaged, ID: server.ID() + "/encryptionProtector/current", Name: "current", Type: "Microsoft.Sql/servers/encryptionProtector",
		Properties: protectorProperties{ServerKeyName: ServiceManagedKey, ServerKeyType: typeServiceManaged},
	}
	if p := server.Protector; p.URI != "" {
		body.Kind = kindKeyVault
		body.Properties = protectorProperties{ServerKeyName: p.KeyName, ServerKeyType: typeKeyVault, URI: p.URI, AutoRotationEnabled: p.AutoRotation}
	}
	return body
}

func (s *Service) listProtectors(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var server Server
	err := s.Store.View(func(tx *store.Tx) (err error) {
		server, err = s.server(tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(listOf([]protectorBody{protectorView(server)})), nil
}

func (s *Service) getProtector(_ context.Context, r *arm.Request) (*arm.Response, error) {
	server, err := s.serverWithProtector(r)
	if err != nil {
		return nil, err
	}
	return arm.OK(protectorView(server)), nil
}

func (s *Service) serverWithProtector(r *arm.Request) (server Server, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		server, err = s.server(tx, r)
		return err
	})
	if err == nil && !strings.EqualFold(r.Param("encryptionProtectorName"), "current") {
		err = arm.Refuse(http.StatusBadRequest, "InvalidEncryptionProtectorName", "The encryption protector key name is not supported.")
	}
	return server, err
}

func (s *Service) protectorResult(tx *store.Tx, op arm.Operation) (any, error) {
	var wanted protectorPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.mustServer(tx, wanted.Server)
	return protectorView(server), err
}

// protectorPayload is what a protector change carries: the wanted protector
// of a server. Register says that an unregistered key is registered in the
// same stroke, which is what the server's own keyId does.
type protectorPayload struct {
	Server    string
	Protector Protector
	Register  bool
}

// protectorHold names a server's protector as busy.
func protectorHold(server Server) string { return "protector of " + server.key() }

func (s *Service) putProtector(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	server, err := s.serverWithProtector(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Properties *struct {
			ServerKeyName       string `json:"serverKeyName"`
			ServerKeyType       string `json:"serverKeyType"`
			AutoRotationEnabled bool   `json:"autoRotationEnabled"`
		} `json:"properties"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.Properties == nil {
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidEncryptionProtectorRequest", "The encryption protector request has no properties object.")
	}
	wanted := protectorPayload{Server: server.Name}
	switch body.Properties.ServerKeyType {
	case typeServiceManaged:
		if name := body.Properties.ServerKeyName; name != "" && !strings.EqualFold(name, ServiceManagedKey) {
			return nil, arm.Refuse(http.StatusBadRequest, "InvalidKeyName", "An invalid value was given for the server key name.")
		}
	case typeKeyVault:
		if wanted.Protector, err = s.registeredProtector(server, body.Properties.ServerKeyName); err != nil {
			return nil, err
		}
		wanted.Protector.AutoRotation = body.Properties.AutoRotationEnabled
	default:
		return nil, arm.Refuse(http.StatusBadRequest, "InvalidKeyType", "The server key type is not supported.")
	}
	op := s.operation(r, server, upsertProtector, "encryptionProtector")
	op.Resource, op.Holds = server.ID()+"/encryptionProtector/current", []string{protectorHold(server)}
	return s.acceptAlone(ctx, r, op, wanted, arm.Refuse(http.StatusConflict, "EncryptionProtectorChangeInProgress",
		"Cannot update database encryption key protector while protector change is already in progress"))
}

// registeredProtector finds the server key that a protector change names.
func (s *Service) registeredProtector(server Server, name string) (Protector, error) {
	var protector Protector
	err := s.Store.View(func(tx *store.Tx) error {
		key, found, err := s.keys.Get(tx, keyKey(server.Name, name))
		if err == nil && !found {
			err = arm.Refuse(http.StatusNotFound, "ServerKeyNotFound", "The requested server key was not found on the current subscription.")
		}
		protector = Protector{URI: key.URI, KeyName: key.Name}
		return err
	})
	return protector, err
}

// acceptAlone accepts op unless another operation holds what it holds; busy
// is then the refusal.
func (s *Service) acceptAlone(ctx context.Context, r *arm.Request, op arm.Operation, payload any, busy *arm.Error) (*arm.Response, error) {
	err := s.Store.Update(func(tx *store.Tx) error {
		for _, hold := range op.Holds {
			if _, held, err := s.Operations.Busy(tx, hold); err != nil {
				return err
			} else if held {
				return busy
			}
		}
		var err error
		op, err = s.Operations.Begin(tx, op, payload)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.Operations.Accepted(ctx, r, op), nil
}

func (s *Service) executeUpsertProtector(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted protectorPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.readServer(wanted.Server)
	if err != nil {
		return nil, err
	}
	thumbprint, err := s.checkProtector(ctx, server, wanted.Protector)
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		if wanted.Register {
			key := keyPayload{Server: server.Name, Name: wanted.Protector.KeyName, URI: wanted.Protector.URI}
			if err := s.register(tx, key, thumbprint, s.Clock.Now()); err != nil {
				return err
			}
		}
		return s.setProtector(tx, wanted)
	}, nil
}

// checkProtector makes all of Azure's checks of a protector change, and gives
// the new key's thumbprint.
func (s *Service) checkProtector(ctx context.Context, server Server, wanted Protector) (string, error) {
	if err := s.requireCurrentAccess(ctx, server); err != nil {
		return "", err
	}
	if wanted.URI == "" {
		return "", nil
	}
	info, err := s.examineKey(ctx, server, wanted.URI)
	if err != nil {
		return "", err
	}
	if err := s.requireLatest(ctx, server, wanted.URI); err != nil {
		return "", err
	}
	return info.Thumbprint, s.requirePartnersReady(ctx, server, wanted, info.Thumbprint)
}

// requireLatest refuses a version of a key that is not its newest enabled one.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-key-rotation
func (s *Service) requireLatest(ctx context.Context, server Server, uri string) error {
	latest, err := s.latestVersion(ctx, server, uri)
	if err != nil {
		return err
	}
	if !strings.EqualFold(latest, uri) && server.Protector.URI != uri {
		return arm.Refuse(http.StatusBadRequest, "OldGenerationOfAKVKeyBeingUsedError",
			"Using an old version of AKV key as TDE protector is not allowed. Please use the latest version of the AKV key as the encryption protector")
	}
	return nil
}

// latestVersion finds the newest enabled version of a key, as the server's
// identity; empty where all are disabled.
func (s *Service) latestVersion(ctx context.Context, server Server, uri string) (string, error) {
	key, err := tde.ParseKeyID(uri)
	if err != nil {
		return "", err
	}
	principal, err := s.principalOf(server)
	if err != nil {
		return "", err
	}
	latest, err := s.Vault.Get(ctx, principal, key.WithoutVersion().String())
	if err != nil {
		return "", s.keyRefusal(server, uri, err)
	}
	if latest.Enabled {
		return latest.URI, nil
	}
	enabled, err := s.NewestEnabled(key.WithoutVersion().String())
	if err != nil {
		return "", fmt.Errorf("newest enabled version of %s: %w", key.WithoutVersion(), err)
	}
	return enabled, nil
}

// requirePartnersReady refuses a protector whose material a geo-linked server
// has not registered, or cannot use.
// Source: https://learn.microsoft.com/azure/azure-sql/database/transparent-data-encryption-byok-overview#geo-dr-and-customer-managed-tde
func (s *Service) requirePartnersReady(ctx context.Context, server Server, wanted Protector, thumbprint string) error {
	partners, err := s.partnersToAsk(server)
	if err != nil {
		return err
	}
	for _, partner := range partners {
		keys, err := s.partnerKeys(partner, wanted, thumbprint)
		if err != nil {
			return err
		}
		if err := s.probeAny(ctx, partner, keys); err != nil {
			s.Log.Info("protector.partner_cannot_use_key", "server", server.Name, "partner", partner.Name, "key", keys[0].URI, "error", err)
			return arm.Refuse(http.StatusBadRequest, "KeyMaterialNotFoundOnRemoteServer", "Remote server does not have access to key material used as a TDE protector.")
		}
	}
	return nil
}

// partnersToAsk lists the servers on which the material must be there. With
// the switch FreeSecondaryFlip those that are primary to this one are left out.
func (s *Service) partnersToAsk(server Server) ([]Server, error) {
	var partners []Server
	err := s.Store.View(func(tx *store.Tx) error {
		links, err := s.linksOf(tx, server.Name)
		seen := map[string]bool{}
		for _, link := range links {
			name := link.Secondary.Server
			if name == server.key() {
				if s.FreeSecondaryFlip {
					continue
				}
				name = link.Primary.Server
			}
			if seen[name] {
				continue
			}
			seen[name] = true
			partner, err := s.mustServer(tx, name)
			if err != nil {
				return err
			}
			partners = append(partners, partner)
		}
		return err
	})
	return partners, err
}

// partnerKeys are the partner's keys that can open what the wanted protector
// wraps; with automatic rotation that has to be the very key.
func (s *Service) partnerKeys(partner Server, wanted Protector, thumbprint string) ([]ServerKey, error) {
	keys, err := s.keysThatOpen(partner, wanted.URI, thumbprint)
	switch {
	case err != nil:
		return nil, err
	case len(keys) == 0:
		return nil, sameMaterialMissing(wanted.URI, partner)
	case wanted.AutoRotation && !strings.EqualFold(keys[0].URI, wanted.URI):
		return nil, arm.Refuse(http.StatusBadRequest, "SameKeyUriNotFoundOnRemoteServer",
			"Secondary server does not have the key material from the same key vault as the primary server's encryption protector with key auto-rotation enabled.")
	}
	return keys, nil
}

// sameMaterialMissing is the refusal in the words seen on the wire.
// Source: https://github.com/hashicorp/terraform-provider-azurerm/issues/25906
func sameMaterialMissing(uri string, partner Server) *arm.Error {
	return arm.Refuse(http.StatusBadRequest, "SameKeyMaterialNotFoundOnRemoteServer",
		"All servers linked by Geo replication should have the same key material as the encryption protector of the primary server. Please add the key '%s' with the same key material to the secondary server '%s'.",
		uri, partner.Name)
}

// setProtector writes the protector and has the databases of the server
// follow, one by one and later.
func (s *Service) setProtector(tx *store.Tx, wanted protectorPayload) error {
	server, err := s.mustServer(tx, wanted.Server)
	if err != nil {
		return err
	}
	if wanted.Protector.URI != "" {
		if _, found, err := s.keys.Get(tx, keyKey(server.Name, wanted.Protector.KeyName)); err != nil || !found {
			return firstOf(err, serverKeyMissing(server, wanted.Protector.KeyName))
		}
	}
	server.Protector, server.LookedAt = wanted.Protector, time.Time{}
	if wanted.Protector.AutoRotation {
		server.LookedAt = s.Clock.Now()
		tx.OnCommit(s.rotator.nudge)
	}
	if err := s.servers.Put(tx, server.key(), server); err != nil {
		return err
	}
	return s.rewrapAll(tx, server)
}

func firstOf(err error, refusal *arm.Error) error {
	if err != nil {
		return err
	}
	return refusal
}

func (s *Service) revalidate(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	server, err := s.serverWithProtector(r)
	if err != nil {
		return nil, err
	}
	op := s.operation(r, server, revalidateProtector, "encryptionProtector")
	op.Resource, op.RetryAfter = server.ID()+"/encryptionProtector/current", 15*time.Second
	op.Holds = []string{protectorHold(server)}
	return s.acceptAlone(ctx, r, op, protectorPayload{Server: server.Name}, arm.Refuse(http.StatusConflict, "EncryptionProtectorChangeInProgress",
		"Cannot update database encryption key protector while protector change is already in progress"))
}

// executeRevalidate checks that the server can use its protector and every
// database's DEK opens.
func (s *Service) executeRevalidate(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted protectorPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.readServer(wanted.Server)
	if err != nil {
		return nil, err
	}
	if server.Protector.URI != "" {
		if _, err := s.examineKey(ctx, server, server.Protector.URI); err != nil {
			return nil, err
		}
	}
	return s.revive(ctx, server)
}
