package config

import "slices"

// By is the tenant as it is read by one of the APIs: itself, unless its API is
// Auto. It has to be complete.
func (t *Tenant) By(api string) Tenant {
	if t.API != Auto {
		return *t
	}
	by := t.by(api)
	_ = by.Complete() // that of Auto has tried it
	return by
}

// by is the tenant before it is complete. What is given of addresses and scopes
// holds for both APIs. Of a quota it is not known which API was meant, so that it
// holds for both as far as it is lower than what that one allows.
func (t *Tenant) by(api string) Tenant {
	by, allowed := *t, Limits[api]
	by.API = api
	if by.QuotaPerMinute != ByAPI {
		by.QuotaPerMinute = min(by.QuotaPerMinute, allowed.PerMinute)
	}
	if hour := &by.QuotaPerHour; *hour != ByAPI && allowed.PerHour > 0 && (*hour == 0 || *hour > allowed.PerHour) {
		*hour = allowed.PerHour
	}
	return by
}

// completeAuto completes what goes by no API, and makes sure that each of them can
// be read.
func (t *Tenant) completeAuto(p place) error {
	complete := *t
	for _, api := range APIs() {
		by := t.by(api)
		for _, given := range []struct {
			field Field
			value string
		}{{fieldAPIURL, by.APIURL}, {fieldAuthScope, by.AuthScope}} {
			if _, known := Clouds[t.Cloud]; !known || given.value == "" {
				continue
			}
			if owner := by.ownerOf(given.value, false); owner != "" {
				return p.wrong(given.field, "is %q, which belongs to %s; with %s %s both APIs are asked there, so it must be an address that serves both, or be left out",
					given.value, owner, fieldAPI, Auto)
			}
		}
		if err := by.complete(p); err != nil {
			return err
		}
		complete = by
	}
	complete.API, complete.APIURL, complete.AuthScope = Auto, t.APIURL, t.AuthScope
	complete.QuotaPerMinute, complete.QuotaPerHour = t.QuotaPerMinute, t.QuotaPerHour
	*t = complete
	return nil
}

// accounts are those that the tenant may be read by.
func (t *Tenant) accounts() []string {
	if t.API != Auto {
		return []string{t.Account()}
	}
	all := slices.Clone(APIs())
	for i, api := range all {
		by := *t
		by.API = api
		all[i] = by.Account()
	}
	return all
}
