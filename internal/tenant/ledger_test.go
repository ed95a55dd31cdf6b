package tenant

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"m365_defender_exporter/internal/pass"
	"m365_defender_exporter/internal/retryafter"
	"m365_defender_exporter/internal/simulator"
	"m365_defender_exporter/internal/tenanttest"
)

// TestLearnedLimits: whatever period the server names, there is one series for
// each configured window, and after a day the configured limit holds again.
func TestLearnedLimits(t *testing.T) {
	inBubble(t, simulator.Options{Seed: 3, Incidents: 50}, nil, func(b *bubble) {
		b.wait(time.Minute)
		var log bytes.Buffer
		b.tenant.ledger.logger = slog.New(slog.NewTextHandler(&log, nil))
		for _, text := range []string{
			"API calls quota exceeded! maximum allowed 40 per 00:05:00", "maximum allowed 40 per moon", "1000 calls per day", "40 per minute", "10 per 00:00:10",
		} {
			b.tenant.ledger.Throttled(time.Now(), "1", text)
			if got := b.series("api_quota_limit"); len(got) != 2 {
				t.Errorf("%s: limits: %v", text, got)
			}
		}
		if minute, hour := b.value("api_quota_limit", "window=minute"), b.value("api_quota_limit", "window=hour"); minute != 10 || hour != 1000 {
			t.Errorf("got %v and %v, want 10 and 1000", minute, hour)
		}
		if got := strings.Count(log.String(), "level=WARN"); got != 3 {
			t.Errorf("got %d warnings, want one for each limit that is lower:\n%s", got, log.String())
		}
		b.wait(25 * time.Hour)
		if minute, hour := b.value("api_quota_limit", "window=minute"), b.value("api_quota_limit", "window=hour"); minute != 50 || hour != 1500 {
			t.Errorf("a day later: got %v and %v, want 50 and 1500", minute, hour)
		}
	})
}

// TestLearnedLimitsAndSettings: they survive a restart, but not other settings.
func TestLearnedLimitsAndSettings(t *testing.T) {
	withLives(t, simulator.Options{Seed: 3, Incidents: 50}, nil, func(l *lives) {
		limit := func(want float64) {
			t.Helper()
			if got := l.value("api_quota_limit", "window=minute"); got != want {
				t.Errorf("got %v calls a minute, want %v", got, want)
			}
		}
		l.wait(time.Minute)
		l.tenant.ledger.Throttled(time.Now(), "1", "maximum allowed 20 per minute")
		l.crash()
		l.begin()
		limit(20)
		l.stop()
		l.begin()
		limit(20)
		l.stop()
		l.cfg.QuotaShare = 0.7
		l.begin()
		limit(50)
	})
}

// TestRetryAfterOfAnotherError: what an error that is no refusal asks for is up to the
// pass that has met it, and blocks no other.
func TestRetryAfterOfAnotherError(t *testing.T) {
	cfg := tenanttest.Config()
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	made, err := simple(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if got := made.ledger.RetryAfter(now, "600").Sub(now); got != 10*time.Minute {
		t.Errorf("waits for %v", got)
	}
	if until, at := made.ledger.log.BlockedUntil(), made.ledger.Ready(now, pass.Delta); !until.IsZero() || at.After(now) {
		t.Errorf("blocked until %v, ready at %v", until, at)
	}
}

// TestLongRetryAfter: an hour is believed, and said once.
func TestLongRetryAfter(t *testing.T) {
	inBubble(t, simulator.Options{Seed: 3, Incidents: 50}, nil, func(b *bubble) {
		b.wait(time.Minute)
		var log bytes.Buffer
		b.tenant.ledger.logger = slog.New(slog.NewTextHandler(&log, nil))
		now := time.Now()
		for range 3 {
			b.tenant.ledger.Throttled(now, "86400", "")
			if got := b.tenant.ledger.log.BlockedUntil(); !got.Equal(now.Add(retryafter.Max)) {
				t.Errorf("blocked until %v, want an hour", got.Sub(now))
			}
		}
		if got := strings.Count(log.String(), "level=WARN"); got != 1 || !strings.Contains(log.String(), "asked=24h0m0s waiting=1h0m0s") {
			t.Errorf("got %d warnings:\n%s", got, log.String())
		}
	})
}
