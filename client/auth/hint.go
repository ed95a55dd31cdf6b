package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"

	"golang.org/x/oauth2"
)

// hints say in plain words what to do, by the numbers in error_codes.
var hints = map[int]string{
	7000215: "the client secret is wrong; its value is needed, not its id",
	7000222: "the client secret has expired; create a new one",
	700016:  "the client id is not known in this tenant",
	90002:   "the tenant id is not known in this cloud",
	500011:  "the API is not known to this tenant: Defender is not provisioned, or --cloud is the wrong one",
	700027:  "the certificate is not registered with this application",
	70021:   "no federated credential of this application matches the token's issuer and subject",
}

// Hint says in plain words what is behind a token error, empty if it is not
// known.
func Hint(err error) string {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		return ""
	}
	var body struct {
		Codes []int `json:"error_codes"`
	}
	if json.Unmarshal(answer.Body, &body) != nil {
		return ""
	}
	for _, code := range body.Codes {
		if hint, ok := hints[code]; ok {
			return hint
		}
	}
	return ""
}

// codes are the OAuth error codes that are counted under their own name.
var codes = []string{
	"invalid_client", "invalid_request", "invalid_grant", "invalid_scope", "invalid_resource",
	"unauthorized_client", "unsupported_grant_type", "temporarily_unavailable", "server_error",
}

// Reason is the label value of a token error: the OAuth error code, or
// timeout, network, server or other.
func Reason(err error) string {
	var answer *oauth2.RetrieveError
	var network net.Error
	switch {
	case errors.As(err, &answer):
		if slices.Contains(codes, answer.ErrorCode) {
			return answer.ErrorCode
		}
		if answer.Response != nil && answer.Response.StatusCode >= 500 {
			return "server"
		}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.As(err, &network):
		return "network"
	}
	return "other"
}
