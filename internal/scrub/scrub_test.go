package scrub

import (
	"encoding/ascii85"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"mime/quotedprintable"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

const (
	// A client secret as Entra makes them, and the beginning of a token.
	secret = "Xy98Q~aB_cD.eF-gH1jK2mN3pQ4rS5tU6vW7xZ~0"
	jwt    = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsIng1dCI6IkhzIn0.eyJhdWQiOiJodHRwczovL2FwaS5leGFtcGxlIiwiaXNzIjoiaHR0cHM6Ly9zdHMuZXhhbXBsZSJ9.hJ8sK2lPq0Zx7Vb3NmR5tYwEuIoAdSfGhQzXcVbNmLk"
)

func knowing(secrets ...string) *Scrubber {
	s := new(Scrubber)
	for i, secret := range secrets {
		s.Secret(fmt.Sprint(i), secret)
	}
	return s
}

func each(s string, f func(r rune) string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteString(f(r))
	}
	return b.String()
}

func alternately(s string, f func(r rune) string) string {
	i := 0
	return each(s, func(r rune) string {
		if i++; i%2 == 0 && r != '%' && r != '\\' && r != '&' && r != '=' {
			return string(r)
		}
		return f(r)
	})
}

func quotedPrintable(s string) string {
	var b strings.Builder
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// folded breaks lines as MIME does.
func folded(s string, width int) string {
	var lines []string
	for part := range slices.Chunk([]byte(s), width) {
		lines = append(lines, string(part))
	}
	return strings.Join(lines, "\r\n")
}

func separated(s, by string) string { return strings.Join(strings.Split(s, ""), by) }

// joined separates by an escape, whose introducer is escaped where it is meant.
func joined(s, intro, by string) string {
	parts := strings.Split(s, "")
	for i, part := range parts {
		if part == intro {
			parts[i] = map[string]string{`\`: `\\`, "%": "%25"}[intro]
		}
	}
	return strings.Join(parts, by)
}

func reversed(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

func swapCase(r rune) string {
	if up := strings.ToUpper(string(r)); up != string(r) {
		return up
	}
	return strings.ToLower(string(r))
}

func percentLower(r rune) string { return fmt.Sprintf("%%%02x", r) }
func percentUpper(r rune) string { return fmt.Sprintf("%%%02X", r) }

var named = map[rune]string{'~': "&tilde;", '_': "&lowbar;", '.': "&period;", '-': "&hyphen;", '+': "&plus;", '/': "&sol;", '=': "&equals;"}

// encodings are what an echo may do to a text.
var encodings = map[string]func(string) string{
	"plain":              func(s string) string { return s },
	"query":              url.QueryEscape,
	"percent":            func(s string) string { return each(s, percentLower) },
	"percent upper":      func(s string) string { return each(s, percentUpper) },
	"percent in part":    func(s string) string { return alternately(s, percentLower) },
	"percent twice":      func(s string) string { return url.QueryEscape(each(s, percentUpper)) },
	"percent thrice":     func(s string) string { return url.QueryEscape(url.QueryEscape(each(s, percentLower))) },
	"percent u":          func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf("%%u%04X", r) }) },
	"base64":             func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 behind one":  func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(":" + s + ";;")) },
	"base64 behind two":  func(s string) string { return base64.URLEncoding.EncodeToString([]byte("a:" + s + ".")) },
	"base64 behind much": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("some client:" + s + "!")) },
	"base64 in lines":    func(s string) string { return folded(base64.StdEncoding.EncodeToString([]byte(s)), 16) },
	"base64, spaced":     func(s string) string { return separated(base64.StdEncoding.EncodeToString([]byte(s)), " ") },
	"base64, lower":      func(s string) string { return strings.ToLower(base64.StdEncoding.EncodeToString([]byte(s))) },
	"base64 twice": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
	},
	"base64 of percent": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("id:" + url.QueryEscape(s))) },
	"base64 of UTF-16":  func(s string) string { return base64.StdEncoding.EncodeToString([]byte(separated(s, "\x00") + "\x00")) },
	"percent of base64": func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
	"JSON of base64": func(s string) string {
		return each(base64.StdEncoding.EncodeToString([]byte(s)), func(r rune) string { return fmt.Sprintf(`\u%04x`, r) })
	},
	"base32": func(s string) string { return base32.StdEncoding.EncodeToString([]byte(s)) },
	"base32 hex, lower, in JSON": func(s string) string {
		return each(strings.ToLower(base32.HexEncoding.EncodeToString([]byte("id:"+s))), func(r rune) string { return fmt.Sprintf(`\u%04x`, r) })
	},
	"base32 behind one":  func(s string) string { return base32.StdEncoding.EncodeToString([]byte(":" + s + ".")) },
	"base32 behind four": func(s string) string { return separated(base32.StdEncoding.EncodeToString([]byte("abc:"+s+".")), " ") },
	"ascii85":            inASCII85All,
	"ascii85 behind two": func(s string) string { return inASCII85All("a:" + s + "..") },
	"hex":                func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex upper":          func(s string) string { return fmt.Sprintf("%X", s) },
	"hex, colons":        func(s string) string { return strings.ReplaceAll(fmt.Sprintf("% x", s), " ", ":") },
	"hex, spaces":        func(s string) string { return fmt.Sprintf("% X", s) },
	"hex, 0x":            func(s string) string { return fmt.Sprintf("%#x", s) },
	"hex, each 0x":       func(s string) string { return fmt.Sprintf("% #x", s) },
	"hex dump":           func(s string) string { return folded(fmt.Sprintf("% x", s), 48) },
	"decimal":            decimals,
	"decimal, commas":    func(s string) string { return strings.ReplaceAll(decimals(s), " ", ", ") },
	"JSON":               func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf(`\u%04x`, r) }) },
	"JSON upper":         func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf(`\u%04X`, r) }) },
	"JSON in part":       func(s string) string { return alternately(s, func(r rune) string { return fmt.Sprintf(`\u%04x`, r) }) },
	"JSON in JSON":       func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf(`\\u%04x`, r) }) },
	"JSON slashes":       func(s string) string { return strings.NewReplacer(`\`, `\\`, `/`, `\/`, `"`, `\"`).Replace(s) },
	"Go":                 func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf(`\x%02x`, r) }) },
	"octal":              func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf(`\%03o`, r) }) },
	"HTML":               html.EscapeString,
	"HTML named": func(s string) string {
		return each(s, func(r rune) string { return cmpOr(named[r], html.EscapeString(string(r))) })
	},
	"HTML decimal":          func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf("&#%d;", r) }) },
	"HTML hex":              func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf("&#x%X;", r) }) },
	"HTML zeros, no end":    func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf("&#%07d", r) }) },
	"HTML in HTML":          func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf("&amp;#%d;", r) }) },
	"quoted-printable":      quotedPrintable,
	"quoted-printable, all": func(s string) string { return each(s, func(r rune) string { return fmt.Sprintf("=%02X", r) }) },
	"quoted-printable, lines": func(s string) string {
		return strings.ReplaceAll(folded(strings.ReplaceAll(s, "=", "=3D"), 10), "\r\n", "=\r\n")
	},
	"UTF-16":            func(s string) string { return separated(s, "\x00") },
	"UTF-16, JSON":      func(s string) string { return joined(s, `\`, `\u0000`) },
	"UTF-16, percent":   func(s string) string { return joined(s, "%", "%00") },
	"wide":              func(s string) string { return each(s, func(r rune) string { return string(r - '!' + '！') }) },
	"lower":             strings.ToLower,
	"upper":             strings.ToUpper,
	"case swapped":      func(s string) string { return each(s, swapCase) },
	"spaces":            func(s string) string { return separated(s, " ") },
	"lines":             func(s string) string { return separated(s, "\r\n") },
	"tabs":              func(s string) string { return separated(s, "\t") },
	"escaped lines":     func(s string) string { return joined(s, `\`, `\n`) },
	"zero width":        func(s string) string { return separated(s, "\u200b") },
	"zero width, more":  func(s string) string { return separated(s, "\u200d\ufeff\u00ad\u2060") },
	"controls":          func(s string) string { return separated(s, "\x1b\x07") },
	"bidi":              func(s string) string { return separated(s, "\u202e") },
	"folded":            func(s string) string { return folded(s, 7) },
	"reversed":          reversed,
	"reversed, spaced":  func(s string) string { return separated(reversed(s), " ") },
	"reversed, percent": func(s string) string { return each(reversed(s), percentLower) },
}

func inASCII85All(s string) string {
	text := make([]byte, ascii85.MaxEncodedLen(len(s)))
	return string(text[:ascii85.Encode(text, []byte(s))])
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// undo is a crude reading of what was shown, apart from the code under test:
// escapes that show writes are undone, and all but letters and digits dropped.
func undo(shown string) string {
	shown = strings.NewReplacer(`\r`, "", `\n`, "", `\t`, "", `\a`, "", `\x00`, "", `\x1b`, "", `\x07`, "", `\u200b`, "", `\u200d`, "", `\ufeff`, "", `\u00ad`, "", `\u2060`, "", `\u202e`, "", " ", "").Replace(shown)
	return strings.ToLower(shown)
}

// parts are all of twelve characters that may not be left, as they are encoded.
func parts(secret string, encode func(string) string) (all []string) {
	for i := 0; i+12 <= len(secret); i++ {
		part := secret[i : i+12]
		all = append(all, strings.ToLower(encode(part)), undo(part), undo(encode(part)))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// survives returns one of the parts that is shown.
func survives(shown string, parts []string) string {
	lower, read := strings.ToLower(shown), undo(shown)
	for _, part := range parts {
		if strings.Contains(lower, part) || strings.Contains(read, part) {
			return part
		}
	}
	return ""
}

// TestEncodings: whole, or a part of it, at the beginning, the end, and in the
// middle of something.
func TestEncodings(t *testing.T) {
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) {
			for _, live := range []string{secret, jwt} {
				s, parts := knowing(live), parts(live, encode)
				for what, part := range map[string]string{"whole": live, "start": live[:14], "end": live[len(live)-14:], "middle": live[9:23], "more": live[3 : len(live)-2]} {
					for _, around := range []string{"%s", "bad value '%s' given", "x=%s&y", "<b>%s</b>", "{\"m\":\"%s\"}"} {
						text := fmt.Sprintf(around, encode(part))
						shown := s.Text(text)
						if left := survives(shown, parts); left != "" {
							t.Errorf("%s: %q becomes %q, in which %q is left", what, text, shown, left)
						}
						if !strings.Contains(shown, Removed) {
							t.Errorf("%s: %q becomes %q", what, text, shown)
						}
						wellFormed(t, s, shown)
					}
				}
			}
		})
	}
}

// wellFormed is what every result has to be.
func wellFormed(t *testing.T, s *Scrubber, shown string) {
	t.Helper()
	if len(shown) > MaxText || !utf8.ValidString(shown) {
		t.Errorf("%d bytes: %q", len(shown), shown)
	}
	for _, r := range shown {
		if r < ' ' || r == 0x7f || invisible(r) {
			t.Errorf("%q shows %U", shown, r)
		}
	}
	if again := s.Text(shown); again != shown {
		t.Errorf("again: %q becomes %q", shown, again)
	}
}

// TestHarmless: what is no secret stays as it is.
func TestHarmless(t *testing.T) {
	s := knowing(secret, jwt)
	for _, text := range []string{
		"",
		"AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '8a1b7c52'.",
		"AADSTS7000218: The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
		"AADSTS900382: Confidential Client is not supported in Cross Cloud request.",
		"Application '8a1b7c52-90de-4f3b-b1c6-0d51c0ffee02' was not found in the directory 'Contoso'.",
		"Get \"https://api.security.microsoft.com/api/incidents?$top=100&$filter=lastUpdateTime+gt+2026-01-01\": dial tcp 10.0.0.1:443: connect: connection refused",
		`Bearer error="invalid_token", authorization_uri="https://login.example/"`,
		"The bearer token is expired. Basic authentication is required, a basic tier too.",
		"API calls quota exceeded! maximum admitted 50 per 1 Minute. You can send requests again in 6 seconds.",
		`code=403 state=open "code":"Forbidden" token: missing`,
		`C:\Users\name\new file; 100% = 1/1; größer ≥ 5 € — "quoted" & <b>bold</b>`,
		"日本語のエラー: пример",
	} {
		if got := s.Text(text); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

// TestPatterns: credentials that need not be ours.
func TestPatterns(t *testing.T) {
	var s *Scrubber
	const foreign = "hunter2Hunter2"
	for text, want := range map[string]string{
		"Bearer " + foreign + " is bad":                                      "Bearer [removed] is bad",
		"bearer: \"" + foreign + "\"":                                        `bearer: "[removed]"`,
		"Bearer%20" + foreign:                                                "Bearer%20[removed]",
		"Basic dXNlcjpwYXNz, then":                                           "Basic [removed], then",
		"GET / HTTP/1.1\r\nAuthorization: Custom a b c\r\nHost: x":           `GET / HTTP/1.1\r\nAuthorization: [removed]\r\nHost: x`,
		`{"Authorization":"Bearer ` + foreign + `","x":1}`:                   `{"Authorization":"[removed]","x":1}`,
		`{\"authorization\":\"` + foreign + `\"}`:                            `{\"authorization\":\"[removed]\"}`,
		"Set-Cookie: " + foreign + "; Path=/":                                "Set-Cookie: [removed]",
		"token " + jwt + " end":                                              "token [removed] end",
		"two parts " + jwt[:90]:                                              "two parts [removed]",
		"truncated " + jwt[:20] + "…":                                        "truncated [removed]…",
		"in capitals " + strings.ToUpper(jwt):                                "in capitals [removed]",
		"Eyjafjallajökull":                                                   "Eyjafjallajökull",
		"in base64 " + base64.RawStdEncoding.EncodeToString([]byte(jwt)):     "in base64 [removed]",
		"a=b&client_secret=" + foreign + "&c=d":                              "a=b&client_secret=[removed]&c=d",
		"client_assertion=" + foreign:                                        "client_assertion=[removed]",
		`{"access_token":"` + foreign + `","expires_in":1}`:                  `{"access_token":"[removed]","expires_in":1}`,
		`{&quot;access_token&quot;:&quot;` + foreign + `&quot;}`:             `{&quot;access_token&quot;:&quot;[removed]&quot;}`,
		`{\"refresh_token\": \"` + foreign + `\"}`:                           `{\"refresh_token\": \"[removed]\"}`,
		"https://x.example/p?sv=1&sig=" + foreign + "&code=" + foreign + "#": "https://x.example/p?sv=1&sig=[removed]&code=[removed]#",
		"client%5Fsecret%3D" + foreign + "%26c":                              "client%5Fsecret%3D[removed]%26c",
		"proxyconnect http://user:" + foreign + "@proxy.example:8080":        "proxyconnect http://[removed]@proxy.example:8080",
		"-----BEGIN RSA PRIVATE KEY-----\nMIIB\nxx":                          "[removed]",
	} {
		if got := s.Text(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestShown(t *testing.T) {
	s := knowing(secret)
	for text, want := range map[string]string{
		"a\r\nb\tc":                                                 `a\r\nb\tc`,
		"\x1b[31mred\x1b]0;title\x07":                               `\x1b[31mred\x1b]0;title\a`,
		"\u202egnp.exe\u2066":                                       `\u202egnp.exe\u2066`,
		"zero\u200bwidth\ufeff\u00ad":                               `zero\u200bwidth\ufeff\u00ad`,
		"\xff\xfe":                                                  `\xff\xfe`,
		"a\u2028b\u0085c\u00a0d":                                    `a\u2028b\u0085c\u00a0d`,
		"\U000e0041tag\ufe0f\u3164\u2800":                           `\U000e0041tag\ufe0f\u3164\u2800`,
		strings.Repeat("x", 200):                                    strings.Repeat("x", 200),
		strings.Repeat("x", 201):                                    strings.Repeat("x", 197) + "…",
		strings.Repeat("€", 80):                                     strings.Repeat("€", 65) + "…",
		strings.Repeat("x", 195) + secret:                           strings.Repeat("x", 195) + "…",
		strings.Repeat("x", 192) + secret:                           strings.Repeat("x", 192) + "…",
		strings.Repeat("x", 186) + secret:                           strings.Repeat("x", 186) + Removed,
		strings.Repeat(secret, 300) + "y":                           Removed + "…",
		strings.Repeat("a", 20) + "\n" + strings.Repeat("\x00", 60): strings.Repeat("a", 20) + `\n` + strings.Repeat(`\x00`, 43) + "…",
	} {
		if got := s.Text(text); got != want {
			t.Errorf("%.60q… becomes %q, want %q", text, got, want)
		}
		if got := s.Bytes([]byte(text)); got != want {
			t.Errorf("bytes %.60q… become %q, want %q", text, got, want)
		}
	}
}

// TestGenerations: an old token is still a secret, for a while; and the kinds
// do not push each other out.
func TestGenerations(t *testing.T) {
	s := new(Scrubber)
	value := func(kind string, i int) string {
		return fmt.Sprintf("%s-number-%08d-%s", kind, i*7919, strings.Repeat(kind, 3))
	}
	s.Secret("secret", secret)
	for i := range 50 {
		s.Secret("token", value("t", i))
		s.Secret("token", value("t", i))
		s.Secret("assertion", value("a", i))
	}
	s.Secret("short", "x")
	for text, want := range map[string]string{
		secret:           Removed,
		value("t", 49):   Removed,
		value("a", 46):   Removed,
		"an x in a text": "an x in a text",
	} {
		if got := s.Text(text); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	if got := len(s.live["token"]) + len(s.live["assertion"]); got != 2*generations {
		t.Errorf("%d secrets are remembered", got)
	}
	if got := knowing("hush").Text("so hush, H u s h!"); got != "so [removed], [removed]!" {
		t.Errorf("a short one: %q", got)
	}
}

func TestErrors(t *testing.T) {
	s := knowing(secret)
	if s.Error(nil) != nil {
		t.Error("nil is an error")
	}
	base := errors.New("base " + secret)
	syntax := &json.SyntaxError{Offset: 7}
	err := s.Error(&url.Error{Op: "Post", URL: "https://login.example/" + secret, Err: fmt.Errorf("malformed %q: %w, %w", secret, base, syntax)})
	if !errors.Is(err, base) {
		t.Error("errors.Is does not find the cause")
	}
	if got, ok := errors.AsType[*json.SyntaxError](err); !ok || got != syntax {
		t.Error("errors.AsType does not find the cause")
	}
	var u *url.Error
	if !errors.As(fmt.Errorf("around: %w", err), &u) {
		t.Error("errors.As does not find the cause")
	}
	if errors.Unwrap(err) != nil {
		t.Error("the raw error is on the chain")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text := fmt.Sprintf(verb, err)
		if strings.Contains(text, secret[:12]) || strings.Contains(text, hex.EncodeToString([]byte(secret[:12]))) || !strings.Contains(text, "malformed") || strings.Contains(text, "login.example") {
			t.Errorf("%s: %s", verb, text)
		}
	}
}

// TestNothingIsPrinted of what a scrubber knows, wherever it is part of.
func TestNothingIsPrinted(t *testing.T) {
	s := knowing(secret)
	holder := &struct{ inner Scrubber }{}
	holder.inner.Secret("secret", secret)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{s, holder, struct{ s *Scrubber }{s}} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, secret) || strings.Contains(text, hex.EncodeToString([]byte(secret))) {
				t.Errorf("%s: %s", verb, text)
			}
		}
	}
}

// TestConcurrency is for the race detector.
func TestConcurrency(*testing.T) {
	s := new(Scrubber)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 20 {
				s.Secret("token", fmt.Sprint("token number ", i, j))
				_ = s.Text("token number 00")
			}
		})
	}
	wg.Wait()
}

// TestWork: neither many readings nor repetition cost more than a moment; what
// has too many readings is not shown.
func TestWork(t *testing.T) {
	s := knowing(secret, strings.Repeat("a", maxSecret), jwt)
	for name, text := range map[string]string{
		"letters":     strings.Repeat("a", 1<<20),
		"escapes":     strings.Repeat(`%2525&amp;amp;#37;\\\\u0041=3D=3D`, 4000),
		"base64":      strings.Repeat("YWFhYWFhYWFhYWFh", 4000),
		"backslashes": strings.Repeat(`\`, 1<<20),
		"nothing":     strings.Repeat("\x00", 1<<20),
	} {
		t.Run(name, func(t *testing.T) { wellFormed(t, s, s.Text(text)) })
	}
}

// decimals writes the codes of a text as fmt prints bytes.
func decimals(s string) string { return fmt.Sprintf("%v", []byte(s)) }

// TestEscapesMakeNoSecret: what a text is escaped with does not show a short secret, and
// the words for what is removed do not either.
func TestEscapesMakeNoSecret(t *testing.T) {
	for live, text := range map[string]string{"0X00": "be)fo\x00 \x04", "u200": "a\u200b", "move": "a move"} {
		s := new(Scrubber)
		s.Secret("secret", live)
		wellFormed(t, s, s.Text(text))
	}
}
