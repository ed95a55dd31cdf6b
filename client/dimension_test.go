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

// TestManyNames: what one alert has of a kind is bounded, and with that what it costs to
// read it.
func TestManyNames(t *testing.T) {
	var body strings.Builder
	body.WriteString(`{"value":[{"incidentId":1,"alerts":[{"devices":[{}`)
	for i := range 20_000 {
		fmt.Fprintf(&body, `,{"rbacGroupName":"%d"}`, i)
	}
	body.WriteString(`]}]}]}`)
	page, err := newDecoder(&defender, Dimensions{Dimensions: incident.Dimensions{DeviceGroups: []string{incident.AllDeviceGroups}}}).page(strings.NewReader(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	if got := page.Rows[0].Alerts[0].Kept.DeviceGroups; len(got) != maxNames || got[0] != "0" {
		t.Errorf("%d names, the first is %q", len(got), got[0])
	}
}

// TestNamesLikeCredentials: what only looks like a credential is how somebody has called
// something.
func TestNamesLikeCredentials(t *testing.T) {
	body := `{"value":[{"incidentId":7,"tags":["Basic Tier0-Assets","Password: reset-required"],"alerts":[{"devices":[{"rbacGroupName":"Basic Servers2019"},{"rbacGroupName":"Basic Servers2022"}]}]}]}`
	for want, groups := range map[string][]string{
		`["Basic Servers2019"]`:                     {"Basic Servers2019"},
		`["Basic Servers2019" "Basic Servers2022"]`: {incident.AllDeviceGroups},
	} {
		c := newTest(t, answer(200, body), func(o *Options) {
			o.Dimensions = Dimensions{Dimensions: incident.Dimensions{Tags: []string{"Basic Tier0-Assets", "Password: reset-required"}, DeviceGroups: groups}}
		})
		page, err := c.List(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%q", page.Rows[0].Kept.Tags); got != `["Basic Tier0-Assets" "Password: reset-required"]` {
			t.Errorf("tags: got %s", got)
		}
		if got := fmt.Sprintf("%q", page.Rows[0].Alerts[0].Kept.DeviceGroups); got != want {
			t.Errorf("device groups: got %s, want %s", got, want)
		}
	}
}
