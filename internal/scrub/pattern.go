package scrub

import (
	"regexp"
	"strings"
)

// pattern finds what looks like a credential. Its first group, or the whole if
// there is none, is removed.
type pattern struct {
	// hints are in lower case; a text without any of them is not looked at.
	hints  []string
	expr   *regexp.Regexp
	unless func(value string) bool
}

// between is what can stand between a name and its value; a plus is a space of
// a form.
const between = `["'\x60\x00-\x20+]*`

// bearer is an access token by what stands before it.
var bearer = pattern{
	hints: []string{"bearer"}, unless: ordinary,
	expr: regexp.MustCompile(`(?i)\bbearer(?:` + between + `[:=])?["'\x60\x00-\x20+]+([\w.~+/=:%-]{4,})`),
}

// webToken is a JSON Web Token: three parts, two, or one that was cut; in other case two.
var webToken = pattern{
	hints: []string{"eyj"},
	expr:  regexp.MustCompile(`(?:[\w-]{4,}\.)?eyJ[\w+/=-]{4,}(?:\.[\w+/=-]*){0,4}|(?i:eyj[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*){0,3})`),
}

// patterns of credentials that need not be ours.
var patterns = []pattern{
	{hints: []string{"authorization", "cookie", "x-identity-header", "api-key", "apikey", "subscription-key", "x-ms-token"},
		expr: regexp.MustCompile(`(?i)\b(?:proxy-)?(?:authorization|set-cookie|cookie|x-identity-header|(?:x-|x-functions-)?api-?key|ocp-apim-subscription-key|x-ms-token[\w-]*)` + between + `[:=]` + between + `([^"'\r\n<>{}\[\]\\]+)`)},
	bearer,
	{hints: []string{"basic", "negotiate", "ntlm", "digest", "sharedaccesssignature", "sharedkey"}, unless: word,
		expr: regexp.MustCompile(`(?i)\b(?:basic|negotiate|ntlm|digest|sharedaccesssignature|sharedkey)(?:` + between + `[:=])?["'\x60\x00-\x20+]+([\w.~+/=:%&-]{6,})`)},
	webToken,
	{hints: []string{"secret", "assertion", "token", "password", "passwd", "pwd", "accountkey", "sharedaccesskey", "credential"},
		expr: regexp.MustCompile(`(?i)\b(?:client[_-]?secret|client[_-]?assertion|assertion|(?:access|refresh|id)[_-]?token|password|passwd|pwd|(?:account|sharedaccess)key)` + between + `(?:=>?|:)` + between + `([^\s"'&,;<>{}\[\]]+)`), unless: isType},
	// In the query of an address only: elsewhere these are everyday words.
	{hints: []string{"sig", "code", "key", "token", "secret", "auth", "assertion", "state", "pass"},
		expr: regexp.MustCompile(`(?i)[?&;](?:amp;)?(?:sig|signature|code|key|token|secret|auth|state|pass|[\w-]*(?:_|-)(?:token|secret|key|code|sig|assertion))=([^\s"'&;<>#]+)`)},
	{hints: []string{"://"},
		expr: regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]{1,20}://([^\s/?#"'<>@]+)@`)},
	{hints: []string{"private key"},
		expr: regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`)},
}

// markPatterns marks what looks like a credential of these in this reading.
func (v view) markPatterns(patterns []pattern, gone []bool) {
	lower := strings.ToLower(string(v.text))
	for _, p := range patterns {
		if !p.hinted(lower) {
			continue
		}
		for _, at := range p.expr.FindAllSubmatchIndex(v.text, -1) {
			begin, end := at[0], at[1]
			if len(at) > 2 {
				begin, end = at[2], at[3]
			}
			if begin < end && (p.unless == nil || !p.unless(string(v.text[begin:end]))) {
				v.mark(begin, end, gone)
			}
		}
	}
}

func (p *pattern) hinted(lower string) bool {
	for _, hint := range p.hints {
		if strings.Contains(lower, hint) {
			return true
		}
	}
	return false
}

// ordinary is what can follow "bearer" in a sentence or in a challenge.
func ordinary(value string) bool {
	name, _, challenge := strings.Cut(strings.ToLower(strings.TrimRight(value, ".:")), "=")
	switch name {
	case "token", "tokens", "auth", "authentication", "authorization", "scheme", "header", "challenge", "credentials", "access", "required", "missing", "with", "from", "that", "must", "type":
		return !challenge
	case "realm", "error", "error_description", "authorization_uri", "client_id", "resource_id", "trusted_issuers", "scope":
		return challenge
	}
	return false
}

// word is letters that are written like a word, or a parameter of a challenge.
func word(value string) bool {
	name, _, challenge := strings.Cut(value, "=")
	if challenge && (strings.EqualFold(name, "realm") || strings.EqualFold(name, "charset")) {
		return true
	}
	value = strings.TrimRight(value, ".:")
	if len(value) > 20 {
		return false
	}
	for i := range len(value) {
		if !isLetter(value[i]) || i > 0 && value[i] < 'a' {
			return false
		}
	}
	return true
}

// isType is what a schema says of such a field.
func isType(value string) bool {
	switch strings.ToLower(value) {
	case "null", "string", "true", "false", "required", "missing", "invalid":
		return true
	}
	return false
}
