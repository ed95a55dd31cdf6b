// Package timeout tells an answer that did not come in time from other failures.
package timeout

import (
	"context"
	"errors"
	"net"
)

// Is tells whether time was up: that of a context, or, as net.Error has it, that
// of a connection or a resolver. It looks behind an outer net.Error that does not
// know: a *url.Error asks what it wraps, and no further.
func Is(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout() || errors.Is(err, context.DeadlineExceeded)
}
