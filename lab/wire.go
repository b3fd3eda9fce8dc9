package lab

import (
	"net/http"
	"strings"
	"time"

	"github.com/crosskeys/crosskeys/lab/entra"
	"github.com/crosskeys/crosskeys/lab/fault"
	"github.com/crosskeys/crosskeys/lab/gateway"
	"github.com/crosskeys/crosskeys/lab/identity"
	"github.com/crosskeys/crosskeys/lab/keyvault"
	"github.com/crosskeys/crosskeys/lab/resources"
	"github.com/crosskeys/crosskeys/lab/sqlserver"
	"github.com/crosskeys/crosskeys/lab/store"
)

// armAudiences are the resources for which ARM takes tokens, in all clouds.
func armAudiences() []string {
	return []string{
		"https://management.azure.com", "https://management.core.windows.net",
		"https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net",
		"https://management.chinacloudapi.cn", "https://management.core.chinacloudapi.cn",
	}
}

// armTokens takes tokens for the lab's own address too, which a custom cloud
// names as ARM's audience. The address is known only once the lab listens.
type armTokens struct{ lab *Lab }

// Verify checks a token for ARM's audiences and the lab's own.
func (t armTokens) Verify(token string, audiences []string) (entra.Claims, error) {
	return t.lab.entra.Verify(token, append([]string{t.lab.BaseURL()}, audiences...))
}

// loginURL is the authority that a vault names in its challenge: the public
// one for the public names, the lab's own for a custom cloud.
func (l *Lab) loginURL(r *http.Request) string {
	if strings.HasSuffix(strings.ToLower(hostOf(r)), ".localhost") {
		return l.BaseURL()
	}
	return "https://login.microsoftonline.com"
}

func hostOf(r *http.Request) string {
	host, _, _ := strings.Cut(r.Host, ":")
	return host
}

func (l *Lab) router() http.Handler {
	return &gateway.Router{
		ARM: l.faulty(l.attributed(l.watched(l.front))), Login: l.entra.Handler(), Identity: l.entra.IdentityHandler(),
		Metadata: l.entra.MetadataHandler(func(*http.Request) string { return l.BaseURL() }),
		Graph:    l.entra.GraphHandler(), Vault: l.faultyVaults(l.attributed(l.watched(l.keyvault.Handler()))), Control: l.controlHandler(),
	}
}

// watched has the TDE keys probed after what may have changed whether they
// can be used: calls that change a vault, a key or a permission.
func (l *Lab) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := l.clock.Now() // the clock may move on before the answer is out
		next.ServeHTTP(w, r)
		if changesKeys(r) {
			l.sql.KeysMayHaveChanged(began)
		}
	})
}

// changesKeys leaves out reading, the use of keys, and resources that have
// nothing to do with them.
func changesKeys(r *http.Request) bool {
	path := strings.ToLower(r.URL.Path)
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return false
	case strings.HasPrefix(path, "/subscriptions/"):
		return strings.Contains(path, "/microsoft.keyvault/") || strings.Contains(path, "/microsoft.authorization/") || strings.Contains(path, "/microsoft.managedidentity/")
	}
	for _, use := range []string{"/wrapkey", "/unwrapkey", "/encrypt", "/decrypt", "/sign", "/verify"} {
		if strings.HasSuffix(path, use) {
			return false
		}
	}
	return true
}

// identityFinder gives the SQL provider the user-assigned identities.
type identityFinder struct{ service *identity.Service }

// FindIdentity finds a user-assigned identity by ARM id.
func (f identityFinder) FindIdentity(tx *store.Tx, id string) (sqlserver.UserAssignedIdentity, bool, error) {
	found, known, err := f.service.Find(tx, id)
	return sqlserver.UserAssignedIdentity{ID: found.ID, PrincipalID: found.PrincipalID, ClientID: found.ClientID, TenantID: found.TenantID}, known, err
}

// vaultSource and sqlSource show the providers' resources in ARM's lists.
type vaultSource struct{ service *keyvault.Service }

// Resources lists the vaults.
func (s vaultSource) Resources(tx *store.Tx, subscription, group string) ([]resources.Resource, error) {
	found, err := s.service.Resources(tx, subscription, group)
	list := make([]resources.Resource, 0, len(found))
	for _, each := range found {
		list = append(list, resources.Resource{ID: each.ID, Name: each.Name, Type: each.Type, Location: each.Location, Tags: each.Tags})
	}
	return list, err
}

type sqlSource struct{ service *sqlserver.Service }

// Resources lists the servers and databases.
func (s sqlSource) Resources(tx *store.Tx, subscription, group string) ([]resources.Resource, error) {
	found, err := s.service.Resources(tx, subscription, group)
	list := make([]resources.Resource, 0, len(found))
	for _, each := range found {
		list = append(list, resources.Resource{ID: each.ID, Name: each.Name, Type: each.Type, Kind: each.Kind, Location: each.Location, Tags: each.Tags})
	}
	return list, err
}

func (l *Lab) wireResources() {
	l.resources.AddSource(sqlSource{l.sql})
	l.resources.AddSource(vaultSource{l.keyvault})
	l.resources.AddSource(l.identity)
	l.resources.OnDeleteGroup(l.sql.DeleteGroup)
	l.resources.OnDeleteGroup(l.keyvault.DeleteGroup)
	l.resources.OnDeleteGroup(l.identity.DeleteGroup)
}

// setting is a value that the lab itself keeps.
type setting struct {
	Offset time.Duration `json:"offset,omitempty"` // of the clock
	Sealed []byte        `json:"sealed,omitempty"` // a secret
	Faults *fault.State  `json:"faults,omitempty"`
}

const (
	settingClock    = "clock"
	settingSecret   = "operator secret"
	settingControl  = "control token"
	settingSQL      = "sql password"
	operatorName    = "crosskeys lab operator"
	operatorObject  = "44444444-4444-4444-8444-444444444444"
	subscriptionTag = "Crosskeys Lab"
)

func (l *Lab) readOffset() (offset time.Duration, err error) {
	err = l.store.View(func(tx *store.Tx) error {
		kept, _, err := l.settings.Get(tx, settingClock)
		offset = kept.Offset
		return err
	})
	return offset, err
}

// Advance moves the lab's clock forward by d. It is kept across restarts.
func (l *Lab) Advance(d time.Duration) error {
	err := l.store.Update(func(tx *store.Tx) error {
		return l.settings.Put(tx, settingClock, setting{Offset: l.clock.Offset() + max(d, 0)})
	})
	if err == nil {
		l.clock.Advance(d)
		l.monitor.Note(nil)
		l.settleMonitor()
	}
	return err
}

// Now is the lab's time.
func (l *Lab) Now() time.Time { return l.clock.Now() }

// seedTenant makes what every lab has: the subscription, the operator
// application and its roles. On later starts it finds them there.
func (l *Lab) seedTenant() error {
	return l.store.Update(func(tx *store.Tx) error {
		var err error
		if l.secret, err = l.keptSecret(tx, settingSecret); err != nil {
			return err
		}
		if l.control, err = l.keptSecret(tx, settingControl); err != nil {
			return err
		}
		if _, there, err := l.entra.FindPrincipal(tx, operatorObject); err != nil || there {
			return err
		}
		if err := l.resources.PutSubscription(tx, SubscriptionID, subscriptionTag); err != nil {
			return err
		}
		operator := entra.Principal{ObjectID: operatorObject, AppID: ClientID, TenantID: TenantID, Name: operatorName}
		if err := l.entra.PutApplication(tx, operator, l.secret); err != nil {
			return err
		}
		for _, role := range []string{"Owner", "Key Vault Administrator"} {
			if err := l.authorization.Assign(tx, operatorObject, role, "/subscriptions/"+SubscriptionID); err != nil {
				return err
			}
		}
		return nil
	})
}

// keptSecret reads a secret of the lab's own, making it on first use.
func (l *Lab) keptSecret(tx *store.Tx, name string) (string, error) {
	kept, found, err := l.settings.Get(tx, name)
	if err != nil {
		return "", err
	}
	if found {
		secret, err := l.sealer.Open(kept.Sealed, name)
		return string(secret), err
	}
	secret, err := randomSecret()
	if err != nil {
		return "", err
	}
	return secret, l.settings.Put(tx, name, setting{Sealed: l.sealer.Seal([]byte(secret), name)})
}
