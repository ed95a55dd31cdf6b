package main

import (
	"fmt"
	"os"
	"path/filepath"

	"m365_defender_exporter/internal/config"
)

// readConfig reads the configuration file. Its error is one line.
func readConfig(path string) ([]config.Tenant, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config.file: %w", err)
	}
	tenants, err := config.Parse(text, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("--config.file %s: %w", path, err)
	}
	return tenants, nil
}
