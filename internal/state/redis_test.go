package state

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"m365_defender_exporter/internal/incident"
)

// engines are what a shared store can be kept in here: one in this process, and a
// real one where the machine has it.
func engines() map[string]func(testing.TB) *engine {
	all := map[string]func(testing.TB) *engine{"miniredis": startMini}
	if _, err := exec.LookPath("redis-server"); err == nil {
		all["redis-server"] = func(t testing.TB) *engine { return startServer(t) }
	}
	for name, start := range maps.Clone(all) {
		all[name+" asked twice"] = func(t testing.TB) *engine {
			e := start(t)
			e.twice = true
			return e
		}
	}
	return all
}

// twice runs scripts a second time, and returns that answer. To hand in twice is
// the one thing that shows, and does no harm: what is merged twice counts once.
type twice struct{ not string }

func (twice) DialHook(next redis.DialHook) redis.DialHook { return next }

func (twice) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h twice) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if args := cmd.Args(); err == nil && args[0] == "evalsha" && args[1] != h.not {
			cmd.SetErr(nil)
			err = next(ctx, cmd)
		}
		return err
	}
}

// engine is one that runs.
type engine struct {
	address string
	*redis.Client
	// twice: every script is run once more, as after an answer that was lost.
	twice bool
}

func newEngine(t testing.TB, address string) *engine {
	client := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return &engine{address: address, Client: client}
}

func startMini(t testing.TB) *engine {
	mini := miniredis.NewMiniRedis()
	if err := mini.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mini.Close)
	return newEngine(t, mini.Addr())
}

// startServer starts a real one. It listens on a port that it is given by the system,
// if it is free by then.
func startServer(t testing.TB, settings ...string) *engine {
	t.Helper()
	dir := t.TempDir()
	for range 5 {
		port := freePort(t)
		var said bytes.Buffer
		server := exec.Command("redis-server", append([]string{
			"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
		}, settings...)...)
		server.Stdout, server.Stderr = &said, &said
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = server.Wait()
			close(ended)
		}()
		e := newEngine(t, "127.0.0.1:"+port)
		for range 500 {
			select {
			case <-ended:
			case <-time.After(10 * time.Millisecond):
				if e.Ping(context.Background()).Err() != nil {
					continue
				}
				t.Cleanup(func() {
					_ = server.Process.Kill()
					<-ended
				})
				return e
			}
			break
		}
		_ = server.Process.Kill()
		<-ended
		t.Logf("redis-server: %s", &said)
	}
	t.Fatal("redis-server does not start")
	return nil
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// settle makes the data set an old one, in which nothing was lost.
func (e *engine) settle(t testing.TB) {
	t.Helper()
	e.age(t, 1000*time.Hour)
}

// age makes the data set so old.
func (e *engine) age(t testing.TB, d time.Duration) {
	t.Helper()
	if err := e.HSet(context.Background(), "m365:members", "#born", e.now(t).Add(-d).UnixMilli()).Err(); err != nil {
		t.Fatal(err)
	}
}

// now is the engine's clock, which need not be ours.
func (e *engine) now(t testing.TB) time.Time {
	t.Helper()
	now, err := e.Time(context.Background()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// join opens a store and makes it a member.
func (e *engine) join(t testing.TB, name string) *redisStore {
	t.Helper()
	store := newStore(t, "redis://"+e.address).(*redisStore)
	if e.twice {
		client, err := store.connection()
		if err != nil {
			t.Fatal(err)
		}
		client.AddHook(twice{not: store.scripts.handIn.Hash()})
	}
	if _, err := store.Join(context.Background(), Member{Name: name, Config: "c", Version: "1"}); err != nil {
		t.Fatal(err)
	}
	return store
}

// BenchmarkRedis is what a shared store costs, with the first engine that there is
// of those that tests use: a real one if the machine has it.
func BenchmarkRedis(b *testing.B) {
	start, name := startMini, "miniredis"
	if server := engines()["redis-server"]; server != nil {
		start, name = server, "redis-server"
	}
	e := start(b)
	e.settle(b)
	store := e.join(b, "a")
	for _, grants := range []int{120, 1200} {
		b.Run(fmt.Sprintf("%s/record %d grants", name, grants), func(b *testing.B) {
			tenant := mustOpen(b, store, contoso)
			defer mustClose(b, tenant)
			ledger := make([]byte, 3*grants)
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := tenant.SaveLedger(ledger); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			reportQuantiles(b, took)
		})
	}
	b.Run(name+"/save 100 changes among 100000", func(b *testing.B) {
		const n = 100_000
		tenant := mustOpen(b, store, contoso)
		defer mustClose(b, tenant)
		m := filled(b, tenant, n)
		saveHundreds(b, tenant, m, 0, n)
	})
	b.Run(name+"/take over 333 tenants of 2000", func(b *testing.B) {
		const tenants, rows = 333, 2000
		key := func(i int) Key { return Key{fmt.Sprint("tenant-", i), "defender"} }
		for i := range tenants {
			tenant := mustOpen(b, store, key(i))
			m := incident.NewMirror(options)
			r := rand.New(rand.NewPCG(7, uint64(i)))
			for id := range int64(rows) {
				in := version(r, id+1, epoch.Add(-time.Duration(id)*time.Minute))
				m.Apply(&in)
			}
			saveMirror(b, tenant, m)
			if _, err := tenant.SaveLedger(make([]byte, 3*1200)); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			b.StopTimer()
			if _, err := store.Join(b.Context(), Member{Name: "a"}); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			var group sync.WaitGroup
			places := make(chan struct{}, 16)
			for i := range tenants {
				places <- struct{}{}
				group.Go(func() {
					defer func() { <-places }()
					tenant, err := store.Open(key(i))
					if err != nil {
						b.Error(err)
						return
					}
					err = tenant.Load(func(saved *incident.Saved) error {
						_, err := incident.RestoreMirror(options, saved, epoch)
						return err
					})
					if err != nil {
						b.Error(err)
					}
					if _, _, err := tenant.LoadLedger(); err != nil {
						b.Error(err)
					}
				})
			}
			group.Wait()
		}
	})
}
