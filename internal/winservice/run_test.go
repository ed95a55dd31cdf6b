package winservice

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// service runs a program in a bubble and keeps what it reports.
type service struct {
	controls chan Control
	mu       sync.Mutex
	reports  []Status
	code     chan int
}

func startService(program Program) *service {
	s := &service{controls: make(chan Control), code: make(chan int, 1)}
	go func() {
		s.code <- Run(program, s.controls, func(status Status) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reports = append(s.reports, status)
		})
	}()
	synctest.Wait()
	return s
}

func (s *service) told(t *testing.T, want ...Status) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.reports, want) {
		t.Errorf("got %v, want %v", s.reports, want)
	}
	s.reports = nil
}

// TestRun: a service is running when its program says so, stops when it is told
// to, and says meanwhile that it is not hung.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startService(func(ctx context.Context, started func(), _ <-chan os.Signal) int {
			time.Sleep(12 * time.Second) // a large state is loaded
			started()
			<-ctx.Done()
			time.Sleep(9 * time.Second) // scrapes end, the state is saved
			return 0
		})
		s.told(t, Status{Starting, 0, 30 * time.Second})
		time.Sleep(11 * time.Second)
		s.told(t, Status{Starting, 1, 30 * time.Second}, Status{Starting, 2, 30 * time.Second})
		time.Sleep(time.Hour)
		s.told(t, Status{State: Running})
		s.controls <- Interrogate
		s.told(t, Status{State: Running})
		s.controls <- Stop
		s.controls <- Stop // by another, or the machine goes down
		s.told(t, Status{Stopping, 0, 30 * time.Second})
		s.controls <- Interrogate
		s.told(t, Status{Stopping, 0, 30 * time.Second})
		began := time.Now()
		if code := <-s.code; code != 0 || time.Since(began) != 9*time.Second {
			t.Errorf("code %d after %v", code, time.Since(began))
		}
		if n := len(s.reports); n == 0 || s.reports[n-1].State != Stopping || s.reports[n-1].CheckPoint == 0 {
			t.Errorf("got %v while it stopped", s.reports)
		}
	})
}

// TestStopWhileStarting: it never says that it runs.
func TestStopWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startService(func(ctx context.Context, started func(), _ <-chan os.Signal) int {
			time.Sleep(time.Second) // a start does not end in the middle
			started()
			<-ctx.Done()
			return 0
		})
		s.controls <- Stop
		if code := <-s.code; code != 0 {
			t.Errorf("code %d", code)
		}
		s.told(t, Status{Starting, 0, 30 * time.Second}, Status{Stopping, 0, 30 * time.Second})
	})
}

// TestFails: the exit code is that of the program, before it runs and later.
func TestFails(t *testing.T) {
	for code, runs := range map[int]time.Duration{2: 0, 1: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := startService(func(_ context.Context, started func(), _ <-chan os.Signal) int {
				if runs > 0 {
					started()
					time.Sleep(runs)
				}
				return code
			})
			if got := <-s.code; got != code {
				t.Errorf("got %d, want %d", got, code)
			}
			if ran := slices.Contains(s.reports, Status{State: Running}); ran != (runs > 0) {
				t.Errorf("said that it runs: %v", ran)
			}
		})
	}
}

// TestReload: changes that come while the configuration is read are one more
// reading, and a service never waits for its program.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		s := startService(func(ctx context.Context, started func(), reload <-chan os.Signal) int {
			started()
			for {
				select {
				case <-reload:
					reads++
					time.Sleep(time.Minute)
				case <-ctx.Done():
					return 0
				}
			}
		})
		for range 4 {
			s.controls <- Reload
			synctest.Wait()
		}
		time.Sleep(time.Hour)
		s.controls <- Stop
		<-s.code
		if reads != 2 {
			t.Errorf("read %d times, want 2", reads)
		}
	})
}
