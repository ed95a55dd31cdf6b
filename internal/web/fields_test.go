package web

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestFieldsAreDocumented: docs/status.md has every field of the JSON, and says of
// each that is always there that it is.
func TestFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		of   any
		path string
	}{
		{page{}, ""}, {reloadStatus{}, "last_reload."}, {tenantStatus{}, "tenants[]."}, {quotaStatus{}, "tenants[].quota[]."}, {elsewhereStatus{}, "tenants_elsewhere[]."},
	} {
		rows := ""
		for line := range strings.Lines(string(text)) {
			first, row := strings.CutPrefix(line, "| `"+part.path)
			if cell, _, _ := strings.Cut(first, " | "); row && (strings.Contains(part.path, "quota") || !strings.HasPrefix(cell, "quota[]")) {
				rows += ", `" + cell
			}
		}
		is := reflect.TypeOf(part.of)
		for i := range is.NumField() {
			name, options, tagged := strings.Cut(is.Field(i).Tag.Get("json"), ",")
			if name == "-" || name == "" {
				continue
			}
			want := "`" + name + "`"
			if strings.HasPrefix(part.path, "last_reload") {
				rows = strings.ReplaceAll(rows, "`.", "`")
			}
			_, after, found := strings.Cut(rows, want)
			if always := strings.HasPrefix(after, " ●"); !found || always == (tagged && options == "omitempty") {
				t.Errorf("%s%s: documented %v, as always there %v", part.path, name, found, always)
			}
		}
	}
}
