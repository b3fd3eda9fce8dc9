package keyvault

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/crosskeys/crosskeys/lab/store"
	"github.com/crosskeys/crosskeys/tde"
)

// live gives the target version of the target key, the latest if it names
// none.
func (c *call) live() (keyVersion, error) {
	name := c.target.key
	if c.target.version != "" {
		name += "/" + c.target.version
	}
	if !c.keyFound || c.key.Deleted != nil {
		return keyVersion{}, keyNotFound(name)
	}
	version, found := c.key.find(c.target.version)
	if !found {
		return keyVersion{}, keyNotFound(name)
	}
	return version, nil
}

// NewestEnabled gives the id of a key's newest enabled version, by an id of the
// key with or without a version; empty where the key has none or is not there.
// It asks nobody's permission: it is for what a service finds out in ways of
// its own.
func (s *Service) NewestEnabled(keyURI string) (string, error) {
	id, err := tde.ParseKeyID(keyURI)
	if err != nil {
		return "", err
	}
	var key keyRecord
	err = s.Store.View(func(tx *store.Tx) (err error) {
		key, _, err = s.keys.Get(tx, keyID(id.Vault(), id.Name))
		return err
	})
	if err != nil || key.Deleted != nil {
		return "", err
	}
	for _, version := range slices.Backward(key.Versions) {
		if version.Enabled {
			id.Version = version.ID
			return id.String(), nil
		}
	}
	return "", nil
}

// getKey shows a version, disabled ones too. Without a version it is the
// newest, also where that is disabled.
// Source: https://github.com/Azure/azure-cli/issues/26044 (said of certificates)
func (s *Service) getKey(c *call) (any, error) {
	version, err := c.live()
	if err != nil {
		return nil, err
	}
	return c.keyBody(c.key, version), nil
}

// keyItem is a key or a version of it in lists.
type keyItem struct {
	KID        string            `json:"kid"`
	Attributes attributesBody    `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
}

type deletedKeyItem struct {
	deletionBody
	keyItem
}

type dataList struct {
	Value    []any   `json:"value"`
	NextLink *string `json:"nextLink"`
}

func (s *Service) listKeys(c *call) (any, error) {
	return s.listWhere(c, func(key keyRecord) any {
		if key.Deleted != nil {
			return nil
		}
		return c.item(key)
	})
}

func (s *Service) listDeletedKeys(c *call) (any, error) {
	return s.listWhere(c, func(key keyRecord) any {
		if key.Deleted == nil {
			return nil
		}
		return deletedKeyItem{deletionBody: c.deletion(key), keyItem: c.item(key)}
	})
}

// item shows a key with the attributes of its latest version.
func (c *call) item(key keyRecord) keyItem {
	latest := key.latest()
	return keyItem{KID: c.kid(key.Name, ""), Attributes: c.attributes(latest), Tags: latest.Tags}
}

// listWhere lists what show makes of the vault's keys, by name.
func (s *Service) listWhere(c *call, show func(keyRecord) any) (any, error) {
	var items []any
	err := s.Store.View(func(tx *store.Tx) error {
		entries, err := s.keys.Scan(tx, keyID(c.vault.Name, ""))
		for _, entry := range entries {
			if item := show(entry.Record); item != nil {
				items = append(items, item)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.page(items)
}

// listVersions lists a key's versions, oldest first.
func (s *Service) listVersions(c *call) (any, error) {
	if _, err := c.live(); err != nil {
		return nil, err
	}
	items := make([]any, 0, len(c.key.Versions))
	for _, version := range c.key.Versions {
		items = append(items, keyItem{KID: c.kid(c.key.Name, version.ID), Attributes: c.attributes(version), Tags: version.Tags})
	}
	return c.page(items)
}

// maxResults is the longest page of a list, and the default.
// Source: https://learn.microsoft.com/rest/api/keyvault/keys/get-keys/get-keys#uri-parameters
const maxResults = 25

// page gives the part of items that maxresults and $skiptoken ask for.
func (c *call) page(items []any) (any, error) {
	query := c.http.URL.Query()
	size, from := maxResults, 0
	if text := query.Get("maxresults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxResults {
			return nil, badParameter("The query parameter maxresults is invalid: it must be a number from 1 to %d.", maxResults)
		}
		size = n
	}
	if token := query.Get("$skiptoken"); token != "" {
		n, err := readSkipToken(token)
		if err != nil {
			return nil, badParameter("The query parameter $skiptoken is invalid.")
		}
		from = n
	}
	from = min(from, len(items))
	to := min(from+size, len(items))
	body := dataList{Value: append([]any{}, items[from:to]...)}
	if to < len(items) {
		body.NextLink = new("https://" + c.http.Host + c.http.URL.EscapedPath() + "?api-version=" + url.QueryEscape(query.Get("api-version")) +
			"&$skiptoken=" + skipToken(to) + "&maxresults=" + strconv.Itoa(size))
	}
	return body, nil
}
