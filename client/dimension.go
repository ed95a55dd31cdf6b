package client

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"m365_defender_exporter/internal/incident"
)

// Dimensions are what is kept of an answer because somebody has asked for it. The
// zero value is nothing: then it is not read.
type Dimensions struct {
	incident.Dimensions
	// Owner makes what is kept of an owner's name: the name, or what stands for it. It
	// must not keep the bytes. nil: nothing is kept.
	Owner func(name []byte) string
}

// addTo adds the members that are read for the dimensions.
func (d *Dimensions) addTo(to *decoder, is *api) {
	to.mark = d.Mark()
	if d.Owner != nil {
		to.row[`"assignedTo"`] = func(r *reading) {
			if name := bytes.ToLower(r.owner()); len(name) > 0 {
				r.in.Assigned, r.in.Kept.Owner = true, r.harmless(d.Owner(name))
				clear(name)
			}
			clear(r.name)
		}
	}
	if len(d.Tags) > 0 {
		to.row[strconv.Quote(is.tags)] = func(r *reading) { r.in.Kept.Tags = r.tags(d.Tags) }
	}
	if d.Techniques {
		to.alertRow[`"mitreTechniques"`] = func(r *reading) {
			r.loop('[', ']', func(r *reading) {
				r.keep(func(k *incident.KeptOfAlert) { k.Techniques = with(k.Techniques, technique(r.text().name)) })
			})
		}
	}
	if d.Detectors > 0 {
		to.alertRow[`"detectorId"`] = func(r *reading) {
			r.keep(func(k *incident.KeptOfAlert) { k.Detector = strings.ToLower(r.text().name) })
		}
	}
	if len(d.DeviceGroups) > 0 {
		device := members{`"rbacGroupName"`: func(r *reading) {
			r.keep(func(k *incident.KeptOfAlert) { k.DeviceGroups = with(k.DeviceGroups, d.deviceGroup(r.text())) })
		}}
		to.alertRow[strconv.Quote(is.devices)] = func(r *reading) {
			r.loop('[', ']', func(r *reading) { r.object(device) })
		}
	}
}

// keep fills what is kept of the alert.
func (r *reading) keep(fill func(*incident.KeptOfAlert)) {
	if r.alert.Kept == nil {
		r.alert.Kept = &incident.KeptOfAlert{}
	}
	fill(r.alert.Kept)
}

// tags reads a list of tags, and keeps those of the list that is shown.
func (r *reading) tags(shown []string) (tags []string) {
	r.loop('[', ']', func(r *reading) {
		r.in.Noted = r.in.Noted || r.dec.PeekKind() != 'n'
		tags = with(tags, listed(shown, r.text().given))
	})
	return tags
}

func (d *Dimensions) deviceGroup(of *text) string {
	if slices.Equal(d.DeviceGroups, []string{incident.AllDeviceGroups}) {
		return of.name
	}
	return listed(d.DeviceGroups, of.given)
}

// listed is the name as it is listed, whose case has no meaning; empty if it is not.
func listed(all []string, name string) string {
	for _, one := range all {
		if strings.EqualFold(one, name) {
			return one
		}
	}
	return ""
}

// maxNames bounds the names that one incident or alert has of a kind, and what it costs to
// read them.
const maxNames = 256

// with adds a name that is one and is not there yet, as long as there is room.
func with(all []string, name string) []string {
	if name == "" || len(all) == maxNames || slices.Contains(all, name) {
		return all
	}
	return append(all, name)
}

// name is a customer's or Microsoft's name as the value of a label: less blanks
// around it, and bounded.
func name(text string) string {
	const limit = 128 // bytes
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text))
	for len(text) > limit {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

// technique is one of MITRE ATT&CK without its sub-technique: T1059 of T1059.001.
// What is none is other.
func technique(text string) string {
	id, _, _ := strings.Cut(strings.ToUpper(text), ".")
	switch digits, ok := strings.CutPrefix(id, "T"); {
	case text == "":
		return ""
	case !ok || len(digits) != 4 || strings.Trim(digits, "0123456789") != "":
		return "other"
	}
	return id
}
