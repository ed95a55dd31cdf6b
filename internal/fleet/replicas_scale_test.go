package fleet

import (
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"m365_defender_exporter/internal/config"
	"m365_defender_exporter/internal/statetest"
	"m365_defender_exporter/internal/tenanttest"
)

var (
	scaleTenants  = flag.Int("scale.tenants", 600, "how many tenants TestReplicasAtScale has; it was run with 100000")
	scaleReplicas = flag.Int("scale.replicas", 12, "and how many replicas; with 100")
)

// silentHost never answers: what is simulated is who has what.
type silentHost struct{}

func (silentHost) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// scale is many replicas of many tenants that make no calls.
type scale struct {
	t       *testing.T
	board   *statetest.Board
	all     []*Fleet
	by      []*Replicas
	stores  []*statetest.Store
	began   time.Time
	lastAsk int
}

func (s *scale) begin(configs []config.Tenant) int {
	store, logger := s.board.Store(), slog.New(slog.DiscardHandler)
	r := NewReplicas(ReplicaOptions{Store: store, Name: fmt.Sprintf("exporter-%03d", len(s.all)), Logger: logger})
	f := New(s.t.Context(), Options{
		Store: store, Logger: logger, Replicas: r,
		NewTransport: func(config.HTTP, []byte) (http.RoundTripper, error) { return silentHost{}, nil },
	})
	if _, err := f.Replace(configs); err != nil {
		s.t.Fatal(err)
	}
	r.Start(f)
	s.all, s.by, s.stores = append(s.all, f), append(s.by, r), append(s.stores, store)
	return len(s.all) - 1
}

// end stops a replica, or kills it.
func (s *scale) end(i int, kill bool) {
	s.stores[i].Cut(kill)
	s.by[i].Stop(time.Minute)
	s.all[i] = nil
}

// owners are the indexes of the replicas that serve each tenant. It fails the test
// if one is served by several, and tells how many by none, and the shares.
func (s *scale) owners() (by map[string]int, least, most int) {
	s.t.Helper()
	by, least = map[string]int{}, 1<<60
	for i, f := range s.all {
		if f == nil {
			continue
		}
		n := len(f.Tenants())
		least, most = min(least, n), max(most, n)
		for _, t := range f.Tenants() {
			if other, twice := by[t.String()]; twice {
				s.t.Fatalf("%s is served by %d and %d", t, other, i)
			}
			by[t.String()] = i
		}
	}
	return by, least, most
}

// settled waits until all are served and returns how long that took.
func (s *scale) settled(tenants int, within time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	for time.Since(began) <= within {
		synctest.Wait()
		if n := s.served(); n == tenants {
			return time.Since(began)
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("after %v %d of %d tenants are served", within, s.served(), tenants)
	return 0
}

func (s *scale) served() (n int) {
	for _, f := range s.all {
		if f != nil {
			n += len(f.Tenants())
		}
	}
	return n
}

// moved counts the tenants that another replica has now.
func moved(before, after map[string]int) (n int, to map[int]int) {
	to = map[int]int{}
	for name, i := range after {
		if before[name] != i {
			n++
			to[i]++
		}
	}
	return n, to
}

// said logs what happened, and what it cost.
func (s *scale) said(what string, args ...any) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	calls := s.board.Calls()
	s.t.Logf("%s; %d exchanges with the store, %d MiB in use, %v in all", fmt.Sprintf(what, args...), calls-s.lastAsk, m.HeapAlloc>>20, time.Since(s.began))
	s.lastAsk = calls
}

// TestReplicasAtScale: the shares are fair; one that goes moves its share and no
// other, at once if it says so; while two configurations are in force nothing moves
// but what is free; and what the store is asked at rest does not grow with the
// tenants.
func TestReplicasAtScale(t *testing.T) {
	tenants, replicas := tenanttest.Sized(*scaleTenants), *scaleReplicas
	synctest.Test(t, func(t *testing.T) {
		s := &scale{t: t, board: statetest.NewBoard(), began: time.Now()}
		defer func() {
			for i, f := range s.all {
				if f != nil {
					s.end(i, false)
				}
			}
		}()
		var configs []config.Tenant
		for i := range tenants + 1 {
			cfg := tenanttest.Config()
			cfg.Name = fmt.Sprintf("tenant-%06d", i)
			cfg.TenantID = fmt.Sprintf("3f6d2a10-5b1e-4c7a-9a44-%012d", i)
			if err := cfg.Complete(); err != nil {
				t.Fatal(err)
			}
			configs = append(configs, cfg)
		}
		added := configs
		configs = configs[:tenants]
		for range replicas {
			s.begin(configs)
		}
		s.settled(tenants, 30*time.Second)
		time.Sleep(5 * time.Second)
		took := s.settled(tenants, 30*time.Second)
		by, least, most := s.owners()
		fair := tenants / replicas
		s.said("%d tenants on %d replicas: from %d to %d each", tenants, replicas, least, most)
		if took > 0 || fair >= 50 && (least < fair/2 || most > fair*3/2) || fair >= 1000 && (least < fair*85/100 || most > fair*115/100) {
			t.Errorf("from %d to %d tenants each", least, most)
		}

		time.Sleep(10 * time.Second)
		calls := s.board.Calls() - s.lastAsk
		s.said("10 s at rest")
		if calls > 12*replicas {
			t.Errorf("%d exchanges in 10 s at rest, want one a second for each replica", calls)
		}

		share := len(s.all[3].Tenants())
		s.end(3, true)
		took = s.settled(tenants, 13*time.Second)
		after, _, _ := s.owners()
		n, to := moved(by, after)
		largest := 0
		for _, n := range to {
			largest = max(largest, n)
		}
		s.said("killed: %d of its %d moved, at most %d to one, all served after %v", n, share, largest, took)
		if n != share {
			t.Errorf("%d tenants moved, %d were its own", n, share)
		}

		by, share = after, len(s.all[5].Tenants())
		began := time.Now()
		s.end(5, false)
		s.settled(tenants, 2*time.Second)
		after, _, _ = s.owners()
		n, _ = moved(by, after)
		s.said("left: %d of its %d moved, all served after %v", n, share, time.Since(began))
		if n != share || time.Since(began) > 3*time.Second {
			t.Errorf("%d tenants moved, %d were its own; after %v", n, share, time.Since(began))
		}

		// Half of them get another configuration, with one tenant more.
		by = after
		for i, f := range s.all {
			if f == nil || i%2 == 0 {
				continue
			}
			if _, err := f.Replace(added); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		s.settled(tenants+1, time.Second)
		time.Sleep(time.Minute)
		after, _, _ = s.owners()
		delete(after, added[tenants].Name)
		n, _ = moved(by, after)
		s.said("two configurations for a minute: %d moved", n)
		if n > 0 {
			t.Errorf("%d tenants moved between replicas with different configurations", n)
		}
		for i, f := range s.all {
			if f != nil && i%2 == 0 {
				if _, err := f.Replace(added); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(5 * time.Second)
		s.settled(tenants+1, time.Second)
		after, _, _ = s.owners()
		delete(after, added[tenants].Name)
		n, _ = moved(by, after)
		s.said("one configuration again: %d moved", n)
		if n > 0 {
			t.Errorf("%d tenants moved, and nobody had gone", n)
		}
		for _, r := range s.by {
			if n := r.lost.Load(); n > 0 {
				t.Errorf("%d tenants were lost", n)
			}
		}
	})
}
