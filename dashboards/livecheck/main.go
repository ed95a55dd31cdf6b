// Livecheck asks a real Prometheus every query of the dashboards, the rules and
// the alerts, and fails if one is refused, or has no data without a reason
// written beside it.
//
//	go run ./dashboards/livecheck http://localhost:9090
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"m365_defender_exporter/dashboards"
)

// patience is how long to wait for data that is on its way.
const patience = 90 * time.Second

func main() {
	if len(os.Args) != 2 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: livecheck URL-OF-PROMETHEUS")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := check(ctx, os.Args[1], os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "livecheck:", err)
		os.Exit(1)
	}
}

// check asks everything, and what has no data yet again until it has or the
// patience is over.
func check(ctx context.Context, server string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var data, excused int
	for _, place := range dashboards.Places() {
		for _, q := range place.Queries {
			n, err := ask(ctx, server, q)
			for err == nil && n == 0 && q.Empty == "" && ctx.Err() == nil {
				wait(ctx, 2*time.Second)
				n, err = ask(ctx, server, q)
			}
			switch {
			case err != nil:
				return fmt.Errorf("%s: %s: %s: %w", place.File, place.Name, q.Expr, err)
			case n > 0:
				data++
			case q.Empty != "":
				excused++
				_, _ = fmt.Fprintf(out, "empty: %s: %s: %s\n", place.File, place.Name, q.Empty)
			default:
				return fmt.Errorf("%s: %s: %s: no data", place.File, place.Name, q.Expr)
			}
		}
	}
	_, err := fmt.Fprintf(out, "%d queries with data, %d without for the reason beside them\n", data, excused)
	return err
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// variables are what Grafana would put in their place.
var variables = strings.NewReplacer("$tenant", ".*", "$instance", ".*", "$severity", ".*", "$__rate_interval", "1m", "$__interval", "5m")

// ask returns how many series the answer has.
func ask(ctx context.Context, server string, q dashboards.Query) (int, error) {
	form := url.Values{"query": {variables.Replace(q.Expr)}}
	path := "/api/v1/query"
	if q.Range {
		path = "/api/v1/query_range"
		now := time.Now()
		form.Set("start", strconv.FormatInt(now.Add(-5*time.Minute).Unix(), 10))
		form.Set("end", strconv.FormatInt(now.Unix(), 10))
		form.Set("step", "15")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("decode the answer: %w", err)
	}
	if answer.Status != "success" {
		return 0, errors.New(answer.Error)
	}
	return len(answer.Data.Result), nil
}
