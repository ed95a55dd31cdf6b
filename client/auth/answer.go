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
	if json.Valid(body) {
		if resp.Header == nil {
			resp.Header = http.Header{}
		}
		resp.Header.Set("Content-Type", "application/json")
		body = withWholeLife(body)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// withWholeLife is an answer that brings a token, and tells its life in a way that the
// library reads. Others are as they were.
func withWholeLife(body []byte) []byte {
	var answer struct { // of several members, in whatever case, the same one as there
		Token string          `json:"access_token"`
		Life  json.RawMessage `json:"expires_in"`
		Error any             `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Token == "" || answer.Life == nil || answer.Error != nil && answer.Error != "" {
		return body
	}
	changed, err := json.Marshal(map[string]any{"access_token": answer.Token, "expires_in": wholeSeconds(answer.Life)})
	if err != nil {
		return body
	}
	return changed
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
