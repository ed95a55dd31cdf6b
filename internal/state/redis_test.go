package state

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// engines are what a shared store can be kept in here: one in this process, and a
// real one where the machine has it.
func engines() map[string]func(testing.TB) *engine {
	all := map[string]func(testing.TB) *engine{"miniredis": startMini}
	if _, err := exec.LookPath("redis-server"); err == nil {
		all["redis-server"] = func(t testing.TB) *engine { return startServer(t) }
	}
	return all
}

// engine is one that runs.
type engine struct {
	address string
	*redis.Client
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
	if err := e.HSet(context.Background(), "m365:members", "#born", time.Now().Add(-d).UnixMilli()).Err(); err != nil {
		t.Fatal(err)
	}
}

// join opens a store and makes it a member.
func (e *engine) join(t testing.TB, name string) *redisStore {
	t.Helper()
	store := newStore(t, "redis://"+e.address).(*redisStore)
	if _, err := store.Join(context.Background(), Member{Name: name, Config: "c", Version: "1"}); err != nil {
		t.Fatal(err)
	}
	return store
}
