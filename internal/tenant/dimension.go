package tenant

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"m365_defender_exporter/client"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/textfile"
)

// newDimensions are those of the configuration, with the key of the hashes of
// owners if there is one. Its error says why the key cannot be used.
func newDimensions(cfg *config.Tenant) (d client.Dimensions, key []byte, err error) {
	of := &cfg.Dimensions
	d.Dimensions = incident.Dimensions{Tags: of.Tags, DeviceGroups: of.DeviceGroups, Techniques: of.Techniques, Detectors: of.Detectors}
	switch of.Assignees {
	case config.AssigneesCount:
		d.Assignees = incident.AssigneesCounted
	case config.AssigneesHashed:
		d.Assignees = incident.AssigneesListed
	case config.AssigneesNames:
		d.Assignees, d.OwnersBy = incident.AssigneesListed, config.AssigneesNames
		d.Owner = func(name []byte) string { return string(name) }
		return d, nil, nil
	default:
		return d, nil, nil
	}
	if key, err = readKey(of.AssigneesKeyFile); err != nil {
		return d, nil, err
	}
	d.Owner = func(name []byte) string { return keyed(key, name) }
	// Not a hash that a name could have: names hold no zero byte.
	d.OwnersBy = keyed(key, []byte("\x00key"))
	return d, key, nil
}

// keyed is the first half of a half of HMAC-SHA256, 16 hexadecimal digits: enough
// to tell owners apart, and nothing without the key.
func keyed(key, name []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write(name) // a hash cannot fail
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// Bounds of a key, in bytes. A shorter one could be guessed.
const (
	minKey = 16
	maxKey = 4096
)

var errShortKey = errors.New("it has less than 16 bytes; it must have at least 16 random ones")

// readKey reads a key, less the line break at its end.
func readKey(path string) ([]byte, error) {
	key, err := textfile.ReadUpTo(path, maxKey)
	if err == nil {
		if key = bytes.TrimRight(key, "\r\n"); len(key) < minKey {
			err = fmt.Errorf("read %s: %w", path, errShortKey)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key of the assignees: %w", err)
	}
	return key, nil
}

// KeyHolds tells whether the file of the key says what it said when the tenant was
// put together. It reads the disk.
func (t *Tenant) KeyHolds() bool {
	if t.key == nil {
		return true
	}
	key, err := readKey(t.config.AssigneesKeyFile)
	return err == nil && hmac.Equal(key, t.key)
}
