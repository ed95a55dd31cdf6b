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
		is := reflect.TypeOf(part.of)
		for i := range is.NumField() {
			name, options, _ := strings.Cut(is.Field(i).Tag.Get("json"), ",")
			if name == "-" || name == "" {
				continue
			}
			_, after, found := strings.Cut(string(text), "`"+part.path+name+"`")
			if always := strings.HasPrefix(after, " ●"); !found || always == (options == "omitempty") {
				t.Errorf("%s%s: documented %v, as always there %v", part.path, name, found, always)
			}
		}
	}
}
