package state

import (
	"reflect"
	"strings"
	"testing"
)

func TestRedisURL(t *testing.T) {
	for url, want := range map[string]redisURL{
		"redis://h":                                      {addresses: []string{"h:6379"}},
		"rediss://user@h:7000/3?prefix=a":                {addresses: []string{"h:7000"}, user: "user", tls: true, database: 3, prefix: "a"},
		"redis://[::1]":                                  {addresses: []string{"[::1]:6379"}},
		"redis://h?cluster=true&addr=i&addr=j:1":         {addresses: []string{"h:6379", "i:6379", "j:1"}, cluster: true},
		"redis://h?master_name=m&addr=i":                 {addresses: []string{"h:26379", "i:26379"}, master: "m"},
		"redis://h?master_name=m&sentinel_auth=true":     {addresses: []string{"h:26379"}, master: "m", sentinelAuth: true},
		"redis://u@h/0?cluster=false&prefix=exporter-42": {addresses: []string{"h:6379"}, user: "u", prefix: "exporter-42"},
	} {
		if want.prefix == "" {
			want.prefix = "m365"
		}
		if got, err := parseRedisURL(url); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", url, got, err, want)
		}
	}
	for url, want := range map[string]string{
		"redis://u:secret@h":                   "STATE_PASSWORD",
		"redis://:secret@h":                    "STATE_PASSWORD",
		"redis://u:secret@h:x/":                "not understood",
		"redis:h":                              "not understood",
		"redis://":                             "not understood",
		"redis://h#f":                          "not understood",
		"redis://h/name":                       "a number",
		"redis://h/-1":                         "a number",
		"redis://h:0":                          "HOST:PORT",
		"redis://h:65536":                      "HOST:PORT",
		"redis://h?addr=i":                     "several addresses",
		"redis://h?addr=u:secret@i":            "HOST:PORT",
		"redis://h?password=secret":            "must be one of addr",
		"redis://h?cluster=perhaps":            "true or false",
		"redis://h?cluster=true&cluster=true":  "twice",
		"redis://h?cluster=true&master_name=m": "one of them",
		"redis://h/1?cluster=true":             "database",
		"redis://h?sentinel_auth=true":         "master_name",
		"redis://h?prefix=":                    "prefix",
		"redis://h?prefix={a}":                 "prefix",
		"redis://h?;":                          "parameters",
	} {
		_, err := New(url, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
}
