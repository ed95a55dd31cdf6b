package auth

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// legible has the library read what is JSON all the same: behind a byte order mark,
// under another content type, which would be taken for a form, and with a life of the
// token that is no whole number of seconds.
type legible struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l legible) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	body = bytes.TrimPrefix(body, []byte(bom))
	var answer map[string]json.RawMessage
	if json.Unmarshal(body, &answer) == nil {
		resp.Header.Set("Content-Type", "application/json")
		if life, ok := answer["expires_in"]; ok {
			answer["expires_in"] = wholeSeconds(life)
			if changed, err := json.Marshal(answer); err == nil {
				body = changed
			}
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// wholeSeconds is a number in JSON, null for what is none: a token whose end is not
// known is used until the API refuses it.
func wholeSeconds(text json.RawMessage) json.RawMessage {
	var quoted string
	if json.Unmarshal(text, &quoted) != nil {
		quoted = string(text)
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(quoted), 64)
	if math.IsNaN(seconds) || err != nil && !math.IsInf(seconds, 0) { // beyond what can be said is infinite, and an error
		return json.RawMessage("null")
	}
	seconds = math.Floor(min(max(seconds, math.MinInt32), math.MaxInt32))
	return strconv.AppendInt(nil, int64(seconds), 10)
}
