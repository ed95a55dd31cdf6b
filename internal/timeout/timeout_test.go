package timeout

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"testing"
)

func TestIs(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"none":       {nil, false},
		"context":    {context.DeadlineExceeded, true},
		"canceled":   {context.Canceled, false},
		"connection": {&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, true},
		"resolver":   {&net.DNSError{IsTimeout: true}, true},
		"no host":    {&net.DNSError{IsNotFound: true}, false},
		"wrapped":    {fmt.Errorf("list: %w", &url.Error{Err: os.ErrDeadlineExceeded}), true},
		"behind":     {&url.Error{Err: fmt.Errorf("proxy: %w", context.DeadlineExceeded)}, true},
		"refused":    {&url.Error{Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}, false},
	} {
		if got := Is(test.err); got != test.want {
			t.Errorf("%s: got %t, want %t", name, got, test.want)
		}
	}
}
