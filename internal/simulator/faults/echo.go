package faults

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"net/http"
	"strings"
	"unicode"

	"m365_defender_exporter/internal/simulator/odata"
)

// Echo answers 403, or Faults.Status if that is set, with the bearer token of
// the request in it: a proxy that shows what it refused, a page for debugging.
type Echo struct {
	Form EchoForm
	At   EchoPlace
}

// EchoForm is a form in which a secret comes back.
type EchoForm int

// The forms.
const (
	EchoNone EchoForm = iota
	EchoPlain
	// EchoPercent has every byte as %xx, EchoHex without the sign.
	EchoPercent
	EchoHex
	EchoBase64
	EchoBase64URL
	// EchoJSON has every character as \u00xx.
	EchoJSON
	// EchoSwapped has small letters for capital ones and the other way round.
	EchoSwapped
	// EchoReversed begins at the end.
	EchoReversed
)

// EchoForms are all of them.
var EchoForms = []EchoForm{EchoPlain, EchoPercent, EchoHex, EchoBase64, EchoBase64URL, EchoJSON, EchoSwapped, EchoReversed}

// EchoPlace is where in an answer it is.
type EchoPlace int

// The places. The last three need HTTP/1.1, and are left out of HTTP/2.
const (
	// EchoMessage is the text of the documented error body.
	EchoMessage EchoPlace = iota
	// EchoPage is an HTML page.
	EchoPage
	// EchoLocation is the header of a redirect, EchoChallenge WWW-Authenticate.
	EchoLocation
	EchoChallenge
	// EchoStatusLine is the reason behind the status.
	EchoStatusLine
	// EchoHeaderLine is a header line without a colon, EchoLength the value of
	// Content-Length: no client can read such an answer, and most say why not.
	EchoHeaderLine
	EchoLength
)

// EchoPlaces are all of them.
var EchoPlaces = []EchoPlace{EchoMessage, EchoPage, EchoLocation, EchoChallenge, EchoStatusLine, EchoHeaderLine, EchoLength}

// Of is the secret in that form.
func (f EchoForm) Of(secret string) string {
	switch f {
	case EchoPercent:
		return eachByte(secret, "%%%02X")
	case EchoHex:
		return hex.EncodeToString([]byte(secret))
	case EchoBase64:
		return base64.StdEncoding.EncodeToString([]byte(secret))
	case EchoBase64URL:
		return base64.RawURLEncoding.EncodeToString([]byte(secret))
	case EchoJSON:
		return eachByte(secret, `\u%04x`)
	case EchoSwapped:
		return strings.Map(func(r rune) rune {
			if unicode.IsUpper(r) {
				return unicode.ToLower(r)
			}
			return unicode.ToUpper(r)
		}, secret)
	case EchoReversed:
		b := []byte(secret)
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		return string(b)
	}
	return secret
}

func eachByte(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		_, _ = fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

// echo answers with the token of the call.
func (f *Faults) echo(x *odata.Exchange, raw *raw) {
	_, secret, _ := strings.Cut(x.Call.Header.Get("Authorization"), " ")
	text := f.Echo.Form.Of(secret)
	status := cmp.Or(f.Status, http.StatusForbidden)
	x.RefuseStatus(status)
	switch f.Echo.At {
	case EchoMessage:
		x.Refuse(status, "Forbidden", "The token "+text+" is not allowed to do that.")
	case EchoPage:
		fillHTML(x.Reply, status, "<body>Refused: Authorization: Bearer "+html.EscapeString(text)+"</body>")
	case EchoLocation:
		x.Reply.Status = http.StatusFound
		x.Reply.Header.Set("Location", Foreign+"/login?token="+text)
	case EchoChallenge:
		x.Reply.Header.Set("WWW-Authenticate", `Bearer error="invalid_token", token="`+text+`"`)
	case EchoStatusLine:
		raw.reason = "Refused " + text
	case EchoHeaderLine:
		raw.line = text
		raw.err = fmt.Errorf("net/http: HTTP/1.x transport connection broken: malformed MIME header line: %s", text)
	case EchoLength:
		raw.line = "Content-Length: " + text
		raw.err = fmt.Errorf("net/http: HTTP/1.x transport connection broken: bad Content-Length %q", text)
	}
}
