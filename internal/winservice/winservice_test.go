package winservice

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// split takes a command line apart as Windows does ("Parsing C command-line
// arguments", learn.microsoft.com/cpp/c-language): the program's name is all up to
// the quotation mark or the space after it, whatever backslashes there are.
func split(line string) (args []string) {
	var program, rest string
	if strings.HasPrefix(line, `"`) {
		program, rest, _ = strings.Cut(line[1:], `"`)
	} else {
		program, rest, _ = strings.Cut(line, " ")
	}
	args = append(args, program)
	var arg strings.Builder
	begun, quoted, backslashes := false, false, 0
	for _, c := range rest + " " {
		if c == '\\' {
			begun = true
			backslashes++
			continue
		}
		if c == '"' {
			arg.WriteString(strings.Repeat(`\`, backslashes/2))
			if backslashes%2 == 1 {
				arg.WriteByte('"')
			} else {
				quoted = !quoted
			}
			begun, backslashes = true, 0
			continue
		}
		arg.WriteString(strings.Repeat(`\`, backslashes))
		backslashes = 0
		if (c == ' ' || c == '\t') && !quoted {
			if begun {
				args = append(args, arg.String())
			}
			begun = false
			arg.Reset()
			continue
		}
		begun = true
		arg.WriteRune(c)
	}
	return args
}

// TestCommandLine: what Windows starts is the program with its arguments, whatever
// is in them, and what needs no quotation marks has none.
func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		program string
		args    []string
		want    string
	}{
		{`C:\m365\m365_defender_exporter.exe`, []string{"--demo"}, `C:\m365\m365_defender_exporter.exe --demo`},
		{`C:\Program Files\m365\exporter.exe`, nil, `"C:\Program Files\m365\exporter.exe"`},
		{`C:\Program Files\m365\exporter.exe`, []string{"--tenant.name=Contoso Ltd", "--state.url=file:data"}, `"C:\Program Files\m365\exporter.exe" "--tenant.name=Contoso Ltd" --state.url=file:data`},
		{`x.exe`, []string{`--config.file=C:\a b\`}, `x.exe "--config.file=C:\a b\\"`},
		{`x.exe`, []string{`--config.file=C:\ab\`}, `x.exe --config.file=C:\ab\`},
		{`x.exe`, []string{`a"b`, `a\"b`, `\\server\share`, ""}, `x.exe "a\"b" "a\\\"b" \\server\share ""`},
		{`x.exe`, []string{"--tenant.name=日本 \t%PATH% & | ^ $(x)"}, "x.exe \"--tenant.name=日本 \t%PATH% & | ^ $(x)\""},
	} {
		d := Define(test.program, test.args)
		if d.CommandLine != test.want {
			t.Errorf("got %s\nwant %s", d.CommandLine, test.want)
		}
		if got, want := split(d.CommandLine), append([]string{test.program}, test.args...); !slices.Equal(got, want) {
			t.Errorf("%s: starts %q, want %q", d.CommandLine, got, want)
		}
	}
}

// FuzzQuote: whatever the arguments are, Windows takes the line apart into them.
func FuzzQuote(f *testing.F) {
	f.Add(`a\\"b c\`, "")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) || !utf8.ValidString(a) || !utf8.ValidString(b) {
			t.Skip("no command line has these")
		}
		want := []string{"x.exe", a, b}
		if got := split(commandLine(want)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", commandLine(want), got, want)
		}
	})
}

// TestDefine: an account of its own, and fewer and fewer attempts.
func TestDefine(t *testing.T) {
	d := Define("x.exe", nil)
	if d.Account != `NT SERVICE\`+d.Name || d.Name != Name {
		t.Errorf("got %s for %s", d.Account, d.Name)
	}
	if len(d.Recovery) == 0 || !slices.IsSorted(d.Recovery) || d.Recovery[len(d.Recovery)-1] >= d.Forget {
		t.Errorf("got %v, forgotten after %v", d.Recovery, d.Forget)
	}
}
