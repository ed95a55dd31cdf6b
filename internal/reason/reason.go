// Package reason names why a call of the API, and with it a refresh, failed. The
// login, the client, the listing and the metrics mean the same by each name.
package reason

// Reason is why a call failed.
type Reason uint8

// The reasons. NumReasons is how many there are.
const (
	Auth       Reason = iota // no access token, or it was not accepted
	Forbidden                // the token lacks a role, or the feature is off
	Throttled                // the server asks to slow down
	Timeout                  // no answer within the time limit
	Network                  // no connection, or it broke
	Server                   // the server says that it failed
	Decode                   // the answer makes no sense, or is too large
	Partial                  // the server says, or shows, that something is missing
	Incomplete               // the server offers no way to read everything
	State                    // the state cannot be saved or loaded
	Panic                    // a mistake in this program
	Other                    // anything else: the request was refused
	NumReasons = int(iota)
)

var names = [NumReasons]string{
	"auth", "forbidden", "throttled", "timeout", "network", "server", "decode", "partial", "incomplete", "state", "panic", "other",
}

// String is the label value. It panics for what is no reason.
func (r Reason) String() string { return names[r] }
