package simulator

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// token is the token endpoint: POST /{tenant}/oauth2/v2.0/token.
func (t *Tenant) token(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	f := t.faults
	t.meter.Tokens++
	t.mu.Unlock()
	if !pause(r, f.TokenDelay) {
		return
	}
	switch form := r.PostFormValue; {
	case f.TokenStatus != 0:
		w.WriteHeader(f.TokenStatus)
	case r.PathValue("tenant") != DefaultTenantID:
		tokenError(w, http.StatusBadRequest, "invalid_request", 90002, "Tenant was not found.")
	case form("grant_type") != "client_credentials" || !strings.HasSuffix(form("scope"), "/.default"):
		tokenError(w, http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter.")
	case form("client_id") != DefaultClientID:
		tokenError(w, http.StatusBadRequest, "unauthorized_client", 700016, "Application was not found in the directory.")
	case f.WrongSecret || form("client_secret") != DefaultClientSecret || r.Header.Get("Authorization") != "":
		tokenError(w, http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided.")
	default:
		t.issue(w, strings.TrimSuffix(form("scope"), "/.default"), f)
	}
}

func (t *Tenant) issue(w http.ResponseWriter, audience string, f Faults) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tokenSeq++
	expiry := t.now().Add(t.opts.TokenLifetime)
	claims := map[string]any{"aud": audience, "tid": DefaultTenantID, "appid": DefaultClientID, "exp": expiry.Unix(), "jti": t.tokenSeq}
	if !f.NoRoles {
		claims["roles"] = []string{"Incident.Read.All"}
	}
	payload, _ := json.Marshal(claims)
	part := base64.RawURLEncoding.EncodeToString
	text := part([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + part(payload) + "." + part(fmt.Append(nil, "signature ", t.tokenSeq))
	t.tokens[text] = expiry
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":%d,"ext_expires_in":%[1]d,"access_token":%q}`,
		int(t.opts.TokenLifetime/time.Second), text)
}

func tokenError(w http.ResponseWriter, status int, code string, number int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"error": code, "error_codes": []int{number},
		"error_description": fmt.Sprintf("AADSTS%d: %s\r\nTrace ID: 0\r\nCorrelation ID: 0\r\nTimestamp: 2026-11-24 00:00:00Z", number, text),
		"trace_id":          "0", "correlation_id": "0",
	})
}

// authorized tells whether the request carries a token that is good.
func (t *Tenant) authorized(r *http.Request) bool {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	expiry, known := t.tokens[text]
	return ok && known && expiry.After(t.now())
}

// pause waits, unless the request is given up.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-r.Context().Done():
		return false
	case <-timer.C:
		return true
	}
}
