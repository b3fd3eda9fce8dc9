package sqlserver

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/arm"
	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/tde"
)

const (
	upsertKey = "UpsertLogicalServerEncryptionKeys"
	deleteKey = "DeleteLogicalServerEncryptionKeys"
)

func (s *Service) keyRoutes() []arm.Route {
	const keysPath = serverPath + "/keys"
	return []arm.Route{
		{Method: http.MethodGet, Pattern: keysPath, Handle: s.listKeys},
		{Method: http.MethodGet, Pattern: keysPath + "/{keyName}", Handle: s.getKey},
		{Method: http.MethodPut, Pattern: keysPath + "/{keyName}", Handle: s.putKey},
		{Method: http.MethodDelete, Pattern: keysPath + "/{keyName}", Handle: s.deleteKey},
	}
}

func (s *Service) handleKeyOperations() {
	s.Operations.Handle(upsertKey, s.executeUpsertKey, s.keyResult)
	s.Operations.Handle(deleteKey, s.executeDeleteKey, nil)
	s.Operations.Handle(upsertProtector, s.executeUpsertProtector, s.protectorResult)
	s.Operations.Handle(revalidateProtector, s.executeRevalidate, nil)
	s.Operations.Handle(rotateProtector, s.executeRotate, nil)
	s.Operations.Handle(taskRewrap, s.executeRewrap, nil)
	s.Operations.Handle(taskFollow, s.executeFollow, nil)
}

type keyBody struct {
	Kind       string        `json:"kind"`
	Location   string        `json:"location,omitempty"`
	Properties keyProperties `json:"properties"`
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Type       string        `json:"type"`
}

type keyProperties struct {
	ServerKeyType       string `json:"serverKeyType"`
	URI                 string `json:"uri,omitempty"`
	Thumbprint          string `json:"thumbprint,omitempty"`
	CreationDate        string `json:"creationDate,omitempty"`
	AutoRotationEnabled bool   `json:"autoRotationEnabled"`
}

const (
	typeKeyVault       = "AzureKeyVault"
	typeServiceManaged = "ServiceManaged"
	kindKeyVault       = "azurekeyvault"
	kindServiceManaged = "servicemanaged"
)

func keyView(server Server, key ServerKey) keyBody {
	return keyBody{
		Kind: kindKeyVault, Location: regionDisplay(server.Location),
		Properties: keyProperties{
			ServerKeyType: typeKeyVault, URI: key.URI, Thumbprint: key.Thumbprint, CreationDate: arm.Timestamp(key.CreatedAt),
			AutoRotationEnabled: server.Protector.AutoRotation && strings.EqualFold(server.Protector.KeyName, key.Name),
		},
		ID: server.ID() + "/keys/" + key.Name, Name: key.Name, Type: "Microsoft.Sql/servers/keys",
	}
}

func serviceManagedView(server Server) keyBody {
	return keyBody{
		Kind: kindServiceManaged, Properties: keyProperties{ServerKeyType: typeServiceManaged},
		ID: server.ID() + "/keys/" + ServiceManagedKey, Name: ServiceManagedKey, Type: "Microsoft.Sql/servers/keys",
	}
}

func (s *Service) listKeys(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var views []keyBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, err := s.server(tx, r)
		if err != nil {
			return err
		}
		keys, err := s.keysOf(tx, server.Name)
		for _, key := range keys {
			views = append(views, keyView(server, key))
		}
		views = append(views, serviceManagedView(server))
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(listOf(views)), nil
}

func (s *Service) getKey(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var view keyBody
	err := s.Store.View(func(tx *store.Tx) error {
		server, err := s.server(tx, r)
		if err != nil {
			return err
		}
		if strings.EqualFold(r.Param("keyName"), ServiceManagedKey) {
			view = serviceManagedView(server)
			return nil
		}
		key, found, err := s.keys.Get(tx, keyKey(server.Name, r.Param("keyName")))
		if err == nil && !found {
			err = notFound("Microsoft.Sql/servers/keys", r.Param("keyName"))
		}
		view = keyView(server, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.OK(view), nil
}

func (s *Service) keyResult(tx *store.Tx, op arm.Operation) (any, error) {
	var wanted keyPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.mustServer(tx, wanted.Server)
	if err != nil {
		return nil, err
	}
	key, found, err := s.keys.Get(tx, keyKey(wanted.Server, wanted.Name))
	if err != nil || !found {
		return nil, err
	}
	return keyView(server, key), nil
}

// keyPayload is what key operations carry.
type keyPayload struct{ Server, Name, URI string }

func (s *Service) putKey(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var server Server
	err := s.Store.View(func(tx *store.Tx) (err error) {
		server, err = s.server(tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	key, err := wantedKey(r)
	if err != nil {
		return nil, err
	}
	payload := keyPayload{Server: server.Name, Name: key.ServerKeyName(), URI: key.String()}
	if err := s.Store.View(func(tx *store.Tx) error { return s.checkNameFree(tx, payload) }); err != nil {
		return nil, err
	}
	op := s.operation(r, server, upsertKey, "serverKey")
	op.Resource = server.ID() + "/keys/" + payload.Name
	return s.accept(ctx, r, op, payload)
}

// wantedKey checks the body and the name of a server key that is put.
func wantedKey(r *arm.Request) (tde.KeyID, error) {
	var body struct {
		Properties *struct {
			ServerKeyType string `json:"serverKeyType"`
			URI           string `json:"uri"`
		} `json:"properties"`
	}
	if err := r.Decode(&body); err != nil {
		return tde.KeyID{}, err
	}
	if body.Properties == nil {
		return tde.KeyID{}, arm.Refuse(http.StatusBadRequest, "InvalidKeyUpsertRequest", "The create server key request does not exist or has no properties object.")
	}
	switch body.Properties.ServerKeyType {
	case typeKeyVault:
	case typeServiceManaged:
		return tde.KeyID{}, arm.Refuse(http.StatusBadRequest, "InvalidUpsertKeyType",
			"Service-managed TDE keys are managed by the service. Service-managed TDE keys don't support Create or Update by the user.")
	default:
		return tde.KeyID{}, arm.Refuse(http.StatusBadRequest, "InvalidKeyType", "The create server key type is not supported.")
	}
	key, err := parseKeyURI(body.Properties.URI)
	if err != nil {
		return tde.KeyID{}, err
	}
	if !strings.EqualFold(key.ServerKeyName(), r.Param("keyName")) {
		return tde.KeyID{}, invalidKeyName(r.Param("keyName"))
	}
	return key, nil
}

// checkNameFree refuses a name or URI that another key of the server has. The
// same key again is no conflict.
func (s *Service) checkNameFree(tx *store.Tx, wanted keyPayload) error {
	keys, err := s.keysOf(tx, wanted.Server)
	if err != nil {
		return err
	}
	for _, key := range keys {
		sameName, sameURI := strings.EqualFold(key.Name, wanted.Name), strings.EqualFold(key.URI, wanted.URI)
		switch {
		case sameName && !sameURI:
			return arm.Refuse(http.StatusConflict, "ServerKeyNameAlreadyExists", "The server key '%s' already exists. Please choose a different server key name.", wanted.Name)
		case sameURI && !sameName:
			return arm.Refuse(http.StatusConflict, "ServerKeyUriAlreadyExists", "The server key URI '%s' already exists as another server key.", wanted.URI)
		}
	}
	return nil
}

func (s *Service) executeUpsertKey(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted keyPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.readServer(wanted.Server)
	if err != nil {
		return nil, err
	}
	if err := s.requireCurrentAccess(ctx, server); err != nil {
		return nil, err
	}
	info, err := s.examineKey(ctx, server, wanted.URI)
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error { return s.register(tx, wanted, info.Thumbprint, s.Clock.Now()) }, nil
}

// register puts the key into the server's list; one that is there stays as
// it was.
func (s *Service) register(tx *store.Tx, wanted keyPayload, thumbprint string, now time.Time) error {
	if err := s.checkNameFree(tx, wanted); err != nil {
		return err
	}
	if _, err := s.mustServer(tx, wanted.Server); err != nil {
		return err
	}
	if _, found, err := s.keys.Get(tx, keyKey(wanted.Server, wanted.Name)); found || err != nil {
		return err
	}
	return s.keys.Put(tx, keyKey(wanted.Server, wanted.Name), ServerKey{
		Server: wanted.Server, Name: wanted.Name, URI: wanted.URI, Thumbprint: thumbprint, CreatedAt: now,
	})
}

// readServer reads a server outside a request.
func (s *Service) readServer(name string) (server Server, err error) {
	err = s.Store.View(func(tx *store.Tx) error {
		server, err = s.mustServer(tx, name)
		return err
	})
	return server, err
}

func (s *Service) deleteKey(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var server Server
	found := false
	err := s.Store.View(func(tx *store.Tx) error {
		var err error
		if server, err = s.server(tx, r); err != nil {
			return err
		}
		_, found, err = s.keys.Get(tx, keyKey(server.Name, r.Param("keyName")))
		return err
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return &arm.Response{Status: http.StatusNoContent}, nil
	}
	op := s.operation(r, server, deleteKey, "serverKey")
	op.Resource = server.ID() + "/keys/" + r.Param("keyName")
	return s.accept(ctx, r, op, keyPayload{Server: server.Name, Name: r.Param("keyName")})
}

func (s *Service) executeDeleteKey(ctx context.Context, op arm.Operation) (arm.Commit, error) {
	var wanted keyPayload
	if err := op.Decode(&wanted); err != nil {
		return nil, err
	}
	server, err := s.readServer(wanted.Server)
	if err != nil {
		return nil, err
	}
	if err := s.requireCurrentAccess(ctx, server); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		if err := s.checkKeyUnused(tx, wanted); err != nil {
			return err
		}
		return s.keys.Delete(tx, keyKey(wanted.Server, wanted.Name))
	}, nil
}

// checkKeyUnused refuses to deregister a key that is the server's protector,
// that wraps a DEK on it, or that protects the geo-primary of its replicas.
func (s *Service) checkKeyUnused(tx *store.Tx, wanted keyPayload) error {
	server, err := s.mustServer(tx, wanted.Server)
	if err != nil {
		return err
	}
	key, found, err := s.keys.Get(tx, keyKey(wanted.Server, wanted.Name))
	if err != nil || !found {
		return err
	}
	if strings.EqualFold(server.Protector.KeyName, key.Name) {
		return arm.Refuse(http.StatusConflict, "AzureKeyVaultKeyInUse",
			"The operation could not be completed because the Azure Key Vault Key name '%s' is currently set as server encryption protector.", key.Name)
	}
	if err := s.checkNotGeoPrimaryProtector(tx, server, key); err != nil {
		return err
	}
	databases, err := s.databasesOf(tx, server.Name)
	if err != nil {
		return err
	}
	for _, db := range databases {
		if dek := s.dekOf(refOf(server.Name, db.Name)); dek != nil && dek.KeyURI == key.URI {
			return arm.Refuse(http.StatusConflict, "AzureKeyVaultKeyInUse",
				"The server key '%s' cannot be deleted because it is currently in use by '%s'.", key.Name, db.Name)
		}
	}
	return nil
}

func (s *Service) checkNotGeoPrimaryProtector(tx *store.Tx, server Server, key ServerKey) error {
	links, err := s.linksOf(tx, server.Name)
	if err != nil {
		return err
	}
	for _, link := range links {
		if link.Secondary.Server != server.key() {
			continue
		}
		primary, err := s.mustServer(tx, link.Primary.Server)
		if err != nil {
			return err
		}
		if primary.Protector.URI == key.URI {
			return arm.Refuse(http.StatusBadRequest, "AzureKeyVaultKeyUsedOnGeoPrimary",
				"The operation could not be completed because the Azure Key Vault Key name %s is currently set as encryption protector on geo-primary.", key.Name)
		}
	}
	return nil
}
