//go:build e2e

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// engine is a Redis in processes of its own, with an append-only file: alone, or
// with a copy and a Sentinel that fails over to it.
type engine struct {
	*redis.Client // of whatever is the primary
	t             *testing.T
	url           string
	servers       []*server
	sentinel      *redis.SentinelClient // nil: there is one server alone
}

// server is one redis-server; it keeps its port and its directory.
type server struct {
	port, dir string
	running   *exec.Cmd
}

// engineName is what the Sentinel knows the primary by.
const engineName = "engine"

// newEngine starts one, whose data set is an old one: one that is young would not be
// believed when it knows nothing of a tenant.
func newEngine(t *testing.T, watched bool) *engine {
	t.Helper()
	e := &engine{t: t}
	primary := e.add()
	e.url = "redis://127.0.0.1:" + primary.port
	e.Client = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + primary.port})
	e.answers()
	if watched {
		second, watch := e.add("--replicaof", "127.0.0.1 "+primary.port), freePort(t)
		settings := filepath.Join(t.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor %s 127.0.0.1 %s 1\nsentinel down-after-milliseconds %s 2000\nsentinel failover-timeout %s 3000\n",
			watch, filepath.Dir(settings), engineName, primary.port, engineName, engineName)
		if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		(&server{port: watch}).run(t, settings, "--sentinel")
		address := "127.0.0.1:" + watch
		e.sentinel = redis.NewSentinelClient(&redis.Options{Addr: address})
		t.Cleanup(func() { _ = e.sentinel.Close() })
		e.url = "redis://" + address + "?master_name=" + engineName
		_ = e.Client.Close()
		e.Client = redis.NewFailoverClient(&redis.FailoverOptions{MasterName: engineName, SentinelAddrs: []string{address}})
		for end := time.Now().Add(20 * time.Second); !e.copied(second.port); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the Sentinel does not see the copy")
			}
		}
	}
	t.Cleanup(func() { _ = e.Client.Close() })
	if err := e.HSet(t.Context(), "m365:members", "#born", 1).Err(); err != nil {
		t.Fatal(err)
	}
	return e
}

// add starts another server.
func (e *engine) add(more ...string) *server {
	e.t.Helper()
	s := &server{port: freePort(e.t), dir: e.t.TempDir()}
	e.servers = append(e.servers, s)
	e.start(s, more...)
	return s
}

func (e *engine) start(s *server, more ...string) {
	e.t.Helper()
	s.run(e.t, append([]string{
		"--port", s.port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0",
	}, more...)...)
}

// run starts the program; the test ends it.
func (s *server) run(t *testing.T, args ...string) {
	t.Helper()
	s.running = exec.Command("redis-server", args...)
	if err := s.running.Start(); err != nil {
		t.Fatal(err)
	}
	running := s.running
	t.Cleanup(func() {
		_ = running.Process.Kill()
		_ = running.Wait()
	})
}

// answers waits until the primary does.
func (e *engine) answers() {
	e.t.Helper()
	for end := time.Now().Add(20 * time.Second); e.Ping(e.t.Context()).Err() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			e.t.Fatal("redis-server does not answer")
		}
	}
}

// primary is the server that the others copy.
func (e *engine) primary() *server {
	if e.sentinel == nil {
		return e.servers[0]
	}
	ctx, cancel := context.WithTimeout(e.t.Context(), 5*time.Second)
	defer cancel()
	address, err := e.sentinel.GetMasterAddrByName(ctx, engineName).Result()
	if err != nil {
		e.t.Fatal(err)
	}
	for _, s := range e.servers {
		if s.port == address[1] {
			return s
		}
	}
	e.t.Fatalf("the Sentinel names %v", address)
	return nil
}

// copied tells that the server at the port has all that the primary has, and that the
// Sentinel knows it.
func (e *engine) copied(port string) bool {
	ctx, cancel := context.WithTimeout(e.t.Context(), 5*time.Second)
	defer cancel()
	known, err := e.sentinel.Replicas(ctx, engineName).Result()
	if err != nil {
		return false
	}
	for _, r := range known {
		if r["port"] == port {
			return r["flags"] == "slave" && r["master-link-status"] == "ok"
		}
	}
	return false
}

// kill gives the server no chance to do anything.
func (e *engine) kill(s *server) {
	_ = s.running.Process.Kill()
	_ = s.running.Wait()
}

// again starts a server that was killed: as what it was, or, if there is another
// primary by now, as its copy.
func (e *engine) again(s *server) {
	e.t.Helper()
	if primary := e.primary(); primary != s {
		e.start(s, "--replicaof", "127.0.0.1 "+primary.port)
		return
	}
	e.start(s)
}

// owner is who the record of a tenant says owns it; ok is false if it cannot be read.
func (e *engine) owner(tenantID string) (identity string, ok bool) {
	ctx, cancel := context.WithTimeout(e.t.Context(), time.Second)
	defer cancel()
	identity, err := e.HGet(ctx, "m365:{"+strings.ToLower(tenantID)+"-defender}", "o").Result()
	return identity, err == nil
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
