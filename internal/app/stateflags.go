package app

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"m365_defender_exporter/collector"
	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/state"
	"m365_defender_exporter/internal/textfile"
)

// stateAccess is how a shared state is reached.
type stateAccess struct {
	passwordFile                     string
	password                         config.Secret // of the environment
	caFile, certificateFile, keyFile string
}

func stateFlags(app *kingpin.Application, s *stateAccess) {
	app.Flag("state.password-file", "File that holds the password of redis: or rediss:, read again for each connection. Or set STATE_PASSWORD to the password.").StringVar(&s.passwordFile)
	app.Flag("state.ca-file", "File that holds the certificate authorities of rediss:, PEM, instead of the system's.").StringVar(&s.caFile)
	app.Flag("state.certificate-file", "File that holds a client certificate for rediss:, PEM.").StringVar(&s.certificateFile)
	app.Flag("state.key-file", "File that holds the key of --state.certificate-file, PEM.").StringVar(&s.keyFile)
	s.password = config.Secret(os.Getenv("STATE_PASSWORD"))
}

// checkState refuses what openState would, and files that cannot be used. It tells
// whether replicas can share the state.
func (o *Options) checkState() (shared bool, err error) {
	options, err := o.stateOptions()
	if err != nil {
		return false, err
	}
	store, err := state.New(o.stateURL(), options)
	if err != nil {
		return false, fmt.Errorf("--state.url is %w", err)
	}
	if options.Password != nil {
		if _, err := options.Password(); err != nil {
			return false, err
		}
	}
	_, shared = store.(state.Shared)
	return shared, nil
}

// openState is the store, and what is measured of it. It connects to nothing.
func (o *Options) openState(logger *slog.Logger) (state.Store, *collector.StateStore, error) {
	options, err := o.stateOptions()
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, operation := range state.Operations {
		names = append(names, string(operation))
	}
	measured := collector.NewStateStore(names...)
	options.Logger, options.Patience = logger, o.patience
	options.Observe = func(what state.Operation, took time.Duration, err error) {
		measured.Exchange(string(what), took, err != nil)
	}
	store, err := state.New(o.stateURL(), options)
	if err != nil {
		return nil, nil, fmt.Errorf("--state.url is %w", err)
	}
	return store, measured, nil
}

func (o *Options) stateOptions() (options state.Options, err error) {
	scheme, _, _ := strings.Cut(o.stateURL(), ":")
	s := &o.stateAccess
	for _, given := range []struct{ flag, file string }{{"ca-file", s.caFile}, {"certificate-file", s.certificateFile}, {"key-file", s.keyFile}} {
		if given.file != "" && scheme != "rediss" {
			return options, fmt.Errorf("--state.%s is given, which needs --state.url=rediss://HOST", given.flag)
		}
	}
	switch {
	case s.passwordFile != "" && scheme != "redis" && scheme != "rediss":
		return options, errors.New("--state.password-file is given, which needs --state.url=redis://HOST or rediss://HOST")
	case (s.certificateFile == "") != (s.keyFile == ""):
		return options, errors.New("--state.certificate-file and --state.key-file must be given together")
	case s.passwordFile != "":
		options.Password = s.readPassword
	case s.password != "":
		options.Password = func() (string, error) { return string(s.password), nil }
	}
	if scheme == "rediss" {
		options.TLS, err = s.tls()
	}
	return options, err
}

// maxPassword bounds a file with a password, maxPEM one with certificates, in bytes.
const (
	maxPassword = 64 << 10
	maxPEM      = 4 << 20
)

// readPassword reads the file as it is now, without the line's end.
func (s *stateAccess) readPassword() (string, error) {
	text, err := textfile.ReadUpTo(s.passwordFile, maxPassword)
	if err != nil {
		return "", fmt.Errorf("--state.password-file: %w", err)
	}
	text = bytes.TrimRight(bytes.TrimPrefix(text, []byte("\uFEFF")), "\r\n")
	if len(text) == 0 {
		return "", fmt.Errorf("--state.password-file: %s is empty", s.passwordFile)
	}
	return string(text), nil
}

// tls is how rediss: connects. A client certificate is read again for each
// connection.
func (s *stateAccess) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.caFile != "" {
		text, err := textfile.ReadUpTo(s.caFile, maxPEM)
		if err != nil {
			return nil, fmt.Errorf("--state.ca-file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--state.ca-file: there is no certificate in %s", s.caFile)
		}
	}
	if s.certificateFile != "" {
		if _, err := s.certificate(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.certificate() }
	}
	return c, nil
}

func (s *stateAccess) certificate() (*tls.Certificate, error) {
	var text [2][]byte
	for i, file := range []string{s.certificateFile, s.keyFile} {
		var err error
		if text[i], err = textfile.ReadUpTo(file, maxPEM); err != nil {
			return nil, fmt.Errorf("--state.certificate-file and --state.key-file: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(text[0], text[1])
	if err != nil {
		return nil, fmt.Errorf("--state.certificate-file and --state.key-file: %w", err)
	}
	return &pair, nil
}
