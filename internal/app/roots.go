package app

// Where the system has no root certificates, as in an image that is built from
// scratch, those of the Go project (Mozilla's) are used. A bundle that the
// system or SSL_CERT_FILE brings comes first: it may hold the operator's own.
import _ "golang.org/x/crypto/x509roots/fallback"
