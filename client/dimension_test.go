package client

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"m365_defender_exporter/internal/incident"
)

// TestDimensions: what is asked for is kept, the same by both APIs, and nothing
// else.
func TestDimensions(t *testing.T) {
	all := Dimensions{
		Dimensions: incident.Dimensions{Tags: []string{"Crown jewels", "VIP"}, DeviceGroups: []string{"Desks", "Servers"}, Techniques: true, Detectors: 1, Assignees: incident.AssigneesListed},
		Owner:      func(name []byte) string { return "by " + string(name) },
	}
	everyGroup := all
	everyGroup.DeviceGroups = []string{incident.AllDeviceGroups}
	const devices = `[{"rbacGroupName":" SERVERS "},{"rbacGroupName":"Kiosk\u0000devices"},{"rbacGroupName":"Kiosk\ufffddevices"},{"rbacGroupName":null},{"rbacGroupName":7},3,{"rbacGroupName":"servers"}]`
	long := strings.Repeat("ä", 64) // 128 bytes
	bodies := map[string]string{"defender": `"incidentId":7,"tags"`, "graph": `"id":"7","customTags"`}
	rest := map[string]string{"defender": `"devices"`, "graph": `"evidence"`}
	for name, is := range map[string]*api{"defender": &defender, "graph": &graph} {
		t.Run(name, func(t *testing.T) {
			body := func(owner string) string {
				return fmt.Sprintf(`{"value":[{%s:["vip",null,{"name":"VIP"},"other","VIP",null],"assignedTo":%s,"alerts":[{"mitreTechniques":["","T1059.001","t1059",null,"TA0001","T10","TABCD","1059"],"detectorId":"ABC",%s:%s},{"detectorId":null}]}]}`,
					bodies[name], owner, rest[name], strings.TrimSuffix(devices, "]")+`,{"rbacGroupName":"`+long+`x"}]`)
			}
			one := func(d Dimensions, owner string) *incident.Incident {
				t.Helper()
				page, err := newDecoder(is, d).page(strings.NewReader(body(owner)))
				if err != nil || len(page.Rows) != 1 {
					t.Fatalf("%v, %v", page, err)
				}
				return &page.Rows[0]
			}
			in := one(all, `"\u200bSome.Body@Example.com "`)
			if want := (&incident.Kept{Mark: all.Mark(), Owner: "by some.body@example.com", Tags: []string{"VIP"}}); !in.Assigned || !in.Noted || !reflect.DeepEqual(in.Kept, want) {
				t.Errorf("got %+v", in.Kept)
			}
			want := &incident.KeptOfAlert{Techniques: []string{"T1059", "other"}, DeviceGroups: []string{"Servers"}, Detector: "abc"}
			if got := in.Alerts[0].Kept; !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if got, want := one(everyGroup, "null").Alerts[0].Kept.DeviceGroups, []string{"SERVERS", "Kiosk devices", "servers", long}; !reflect.DeepEqual(got, want) {
				t.Errorf("groups: got %q, want %q", got, want)
			}
			for _, nobody := range []string{"null", `""`, `" unassigned"`, "{}"} {
				if in := one(all, nobody); in.Assigned || in.Kept.Owner != "" {
					t.Errorf("%s: assigned to %q", nobody, in.Kept.Owner)
				}
			}
			if in := one(Dimensions{}, `"somebody"`); !in.Assigned || !in.Noted || in.Kept != nil || in.Alerts[0].Kept != nil {
				t.Errorf("kept although not asked for: %+v", in.Kept)
			}
		})
	}
}
