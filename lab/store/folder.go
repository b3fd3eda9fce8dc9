package store

import (
	"errors"
	"os"
	"path/filepath"
)

// syncFolder makes a rename in path's folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
