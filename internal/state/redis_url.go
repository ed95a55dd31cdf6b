package state

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// redisURL is what a URL of the schemes redis: and rediss: says.
type redisURL struct {
	addresses    []string
	user         string
	database     int
	tls          bool
	master       string // of Sentinel, whose addresses they then are
	sentinelAuth bool
	cluster      bool
	prefix       string
}

// parseRedisURL reads redis://[USER@]HOST[:6379][/DB]. Its errors do not quote what
// may be a password.
func parseRedisURL(text string) (*redisURL, error) {
	at, err := url.Parse(text)
	if err != nil || at.Opaque != "" || at.Fragment != "" || at.Hostname() == "" {
		return nil, errors.New("not understood; it must be like redis://USER@HOST:6379/0 or rediss://HOST")
	}
	if _, has := at.User.Password(); has {
		return nil, errors.New("a URL with a password, which would be shown in lists of processes; it must be without, and the password in a file, --state.password-file, or in STATE_PASSWORD")
	}
	u := &redisURL{user: at.User.Username(), tls: at.Scheme == "rediss", prefix: "m365"}
	if path := strings.TrimPrefix(at.Path, "/"); path != "" {
		if u.database, err = strconv.Atoi(path); err != nil || u.database < 0 {
			return nil, fmt.Errorf("of database %q; it must be a number", path)
		}
	}
	parameters, err := url.ParseQuery(at.RawQuery)
	if err != nil {
		return nil, errors.New("a URL whose parameters are not understood")
	}
	hosts := []string{at.Host}
	for name, values := range parameters {
		if name != "addr" && len(values) > 1 {
			return nil, fmt.Errorf("a URL with the parameter %s twice; it must be once", name)
		}
		value := values[0]
		switch name {
		case "addr":
			hosts = append(hosts, values...)
		case "master_name":
			u.master = value
		case "prefix":
			u.prefix = value
		case "cluster":
			u.cluster, err = strconv.ParseBool(value)
		case "sentinel_auth":
			u.sentinelAuth, err = strconv.ParseBool(value)
		default:
			return nil, fmt.Errorf("a URL with the parameter %q; it must be one of addr, master_name, sentinel_auth, cluster, prefix", name)
		}
		if err != nil {
			return nil, fmt.Errorf("a URL with %s=%q; it must be true or false", name, value)
		}
	}
	port := "6379"
	if u.master != "" {
		port = "26379"
	}
	for _, host := range hosts {
		address, err := hostPort(host, port)
		if err != nil {
			return nil, err
		}
		u.addresses = append(u.addresses, address)
	}
	return u, u.check()
}

// check refuses what does not fit together.
func (u *redisURL) check() error {
	switch {
	case u.prefix == "" || strings.ContainsAny(u.prefix, "{} \r\n\t") || len(u.prefix) > 100:
		return fmt.Errorf("a URL with prefix=%q; it must be a short word without braces and blanks", u.prefix)
	case u.cluster && u.master != "":
		return errors.New("a URL with cluster and master_name; it must be one of them")
	case u.cluster && u.database != 0:
		return errors.New("a URL with cluster and a database; a cluster has no other than 0")
	case len(u.addresses) > 1 && !u.cluster && u.master == "":
		return errors.New("a URL with several addresses; they must be of a cluster, cluster=true, or of Sentinels, master_name=NAME")
	case u.sentinelAuth && u.master == "":
		return errors.New("a URL with sentinel_auth and without master_name")
	}
	return nil
}

// hostPort adds the port if there is none.
func hostPort(host, port string) (string, error) {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	name, number, err := net.SplitHostPort(host)
	if n, not := strconv.ParseUint(number, 10, 16); err != nil || not != nil || n == 0 || name == "" || strings.ContainsAny(name, "@/?# ") {
		return "", errors.New("a URL with an address that is not understood; it must be HOST or HOST:PORT")
	}
	return host, nil
}

// escaped is a text as part of a key.
func escaped(text string) string {
	return url.PathEscape(text)
}
