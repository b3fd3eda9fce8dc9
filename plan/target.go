package plan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/crosskeys/crosskeys/tde"
)

// maxTargetFile is in bytes; a file for a hundred servers has some 15,000.
const maxTargetFile = 256 << 10

const targetHint = `see docs/schema/target.schema.json; an entry is  SERVER: {key: https://VAULT.vault.azure.net/keys/NAME/VERSION}  or  SERVER: {serviceManaged: true}`

// targetFile is the form of a file of desired protectors. Its field names are
// those of docs/schema/target.schema.json.
type targetFile struct {
	FailoverGroup string                     `yaml:"failoverGroup"`
	Protectors    map[string]targetProtector `yaml:"protectors"`
}

type targetProtector struct {
	Key            string `yaml:"key"`
	AutoRotation   *bool  `yaml:"autoRotation"`
	ServiceManaged *bool  `yaml:"serviceManaged"`
}

// ReadDesired reads a YAML file of desired protectors: the failover group,
// empty when the file names none, and the desires. It is strict: unknown or
// repeated fields, key ids that are none, and a second document are a
// *FileError. Whether the desires fit a topology is for Make to say.
func ReadDesired(text []byte) (group string, desired Desired, err error) {
	if len(text) > maxTargetFile {
		return "", nil, targetError(fmt.Errorf("it has %d bytes, more than %d", len(text), maxTargetFile))
	}
	var f targetFile
	decoder := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := decoder.Decode(&f); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return "", nil, targetError(err)
	}
	var more any
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return "", nil, targetError(errors.New("it has more than one YAML document"))
	}
	desired, err = f.desired()
	if err != nil {
		return "", nil, targetError(err)
	}
	return f.FailoverGroup, desired, nil
}

func targetError(err error) error {
	return &FileError{What: "the file of desired protectors cannot be used", Hint: targetHint, Err: err}
}

func (f targetFile) desired() (Desired, error) {
	if len(f.Protectors) == 0 {
		return nil, errors.New("it names no server under protectors")
	}
	names := make([]string, 0, len(f.Protectors))
	for name := range f.Protectors {
		names = append(names, name)
	}
	slices.Sort(names)
	desired, seen := Desired{}, map[string]string{}
	for _, name := range names {
		if name == "" {
			return nil, errors.New("a server under protectors has no name")
		}
		if other, twice := seen[strings.ToLower(name)]; twice {
			return nil, fmt.Errorf("%s and %s are the same server", other, name)
		}
		seen[strings.ToLower(name)] = name
		wanted, err := f.Protectors[name].desired()
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", name, err)
		}
		desired[name] = wanted
	}
	return desired, nil
}

func (p targetProtector) desired() (DesiredProtector, error) {
	switch managed := p.ServiceManaged != nil; {
	case managed && !*p.ServiceManaged:
		return DesiredProtector{}, errors.New("serviceManaged can only be true; leave it out beside a key")
	case managed && p.Key != "":
		return DesiredProtector{}, errors.New("it has both key and serviceManaged")
	case managed && p.AutoRotation != nil:
		return DesiredProtector{}, errors.New("it has both autoRotation and serviceManaged")
	case managed:
		return DesiredProtector{}, nil
	case p.Key == "":
		return DesiredProtector{}, errors.New("it has neither key nor serviceManaged: true")
	}
	id, err := tde.ParseKeyID(p.Key)
	if err != nil {
		return DesiredProtector{}, err
	}
	return DesiredProtector{Key: id, AutoRotation: p.AutoRotation}, nil
}
