package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	toolkit "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v4"

	"m365_defender_exporter/internal/textfile"
)

// checkAddresses refuses what cannot be listened on whatever the machine.
func (o *Options) checkAddresses() error {
	listens := map[string]string{} // by the port: where
	check := func(flag, address, example string) error {
		host, name, err := net.SplitHostPort(address)
		port := 0
		if err == nil {
			port, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", name)
		}
		if err != nil || name == "" {
			return fmt.Errorf("--%s is %q; it must be an address such as %s", flag, address, example)
		}
		at := fmt.Sprint(port)
		if where, taken := listens[at]; taken && port != 0 && (host == "" || where == "" || host == where) {
			return fmt.Errorf("--%s is %q, but --web.listen-address has that port; it must be another one", flag, address)
		}
		listens[at] = host
		return nil
	}
	for _, address := range *o.web.WebListenAddresses {
		if *o.web.WebSystemdSocket { // then it is not listened on
			break
		}
		if strings.HasPrefix(address, "vsock://") {
			continue
		}
		if err := check("web.listen-address", address, ":10058"); err != nil {
			return err
		}
	}
	if o.probeAddress == "" {
		return nil
	}
	return check("web.probe-listen-address", o.probeAddress, ":10059")
}

// checkWebConfig tells whether connections can be taken by the web configuration.
func checkWebConfig(path string) error {
	if err := checkWebFiles(path); err != nil {
		return fmt.Errorf("--web.config.file: %w", err)
	}
	if err := toolkit.Validate(path); err != nil {
		return fmt.Errorf("--web.config.file %s: %w", path, err)
	}
	return nil
}

// watchWebConfig says when the web configuration, which is read again for each connection,
// can no longer be used, and when it can. What the client is told is less, and what the
// server says of each failed handshake is of scanners as a rule.
func (a *App) watchWebConfig(ctx context.Context) {
	failing, began := "", hasTLS(*a.opts.web.WebConfigFile)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Minute):
		}
		err, what := checkWebConfig(*a.opts.web.WebConfigFile), "The web configuration can no longer be used: new connections fail"
		switch has := hasTLS(*a.opts.web.WebConfigFile); {
		case has && !began: // a plain listener does not look at certificates
			err, what = errors.New("tls_server_config is new"), "The web configuration asks for TLS, which begins with a restart: connections go on without"
		case began && !has && err == nil:
			err = errors.New("tls_server_config is gone: after a restart connections are plain")
		}
		switch {
		case err != nil && err.Error() != failing:
			failing = err.Error()
			a.logger.Error(what, "err", err)
		case err == nil && failing != "":
			failing = ""
			a.logger.Info("The web configuration can be used again")
		}
	}
}

// hasTLS tells whether the web configuration asks for TLS. The toolkit listens with it or
// without from the start on, whatever it reads later.
func hasTLS(path string) bool {
	var is struct {
		TLS toolkit.TLSConfig `yaml:"tls_server_config"`
	}
	text, err := textfile.Read(path)
	return err == nil && yaml.Unmarshal(text, &is) == nil && is.TLS.IsEnabled()
}

// checkWebFiles makes sure that the web configuration, and what it names, can be read
// to its end: the toolkit would read a device or a pipe without one. What is in them the
// toolkit checks.
func checkWebFiles(path string) error {
	if path == "" {
		return nil
	}
	text, err := textfile.Read(path)
	if err != nil {
		return err
	}
	var names struct {
		TLS struct {
			Certificate string `yaml:"cert_file"`
			Key         string `yaml:"key_file"`
			ClientCAs   string `yaml:"client_ca_file"`
		} `yaml:"tls_server_config"`
	}
	if yaml.Unmarshal(text, &names) != nil {
		return nil //nolint:nilerr // the toolkit says it better
	}
	for _, named := range []struct{ field, file string }{
		{"cert_file", names.TLS.Certificate}, {"key_file", names.TLS.Key}, {"client_ca_file", names.TLS.ClientCAs},
	} {
		file := named.file
		if file == "" {
			continue
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		if _, err := textfile.Read(file); err != nil {
			return fmt.Errorf("%s: tls_server_config.%s: %w", path, named.field, err)
		}
	}
	return nil
}
