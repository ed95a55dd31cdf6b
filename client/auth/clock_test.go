package auth

import (
	"testing"
	"time"
)

// TestOwnClock: a token ends, and is replaced, by the clock that is given, whatever
// the machine's says.
func TestOwnClock(t *testing.T) {
	now := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	o := options(&endpoint{answer: good})
	o.Now = func() time.Time { return now }
	s := ClientSecret(o, func() (string, error) { return "secret", nil })
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "token 1"}, {54 * time.Minute, "token 1"}, {2 * time.Minute, "token 2"}} {
		now = now.Add(step.after)
		token, err := s.Token()
		if err != nil || token.AccessToken != step.want {
			t.Fatalf("at %v: got %v, %v; want %s", now, token, err, step.want)
		}
	}
	if left := s.Expiry().Sub(now); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the token lasts for another %v, want an hour", left)
	}
}
