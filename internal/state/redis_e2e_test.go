//go:build e2e

package state

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestE2ERights: over TLS, as the user that the documents make and with its
// rights alone, everything works; with another password nothing does, and no error
// shows it.
func TestE2ERights(t *testing.T) {
	dir := t.TempDir()
	authority := certificate(t, dir)
	users := filepath.Join(dir, "users.acl")
	user := "user defender on >a-secret-word " + documentedRights(t, "../../docs/state.md")
	if err := os.WriteFile(users, []byte("user default off\n"+user+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	run(t, port, "redis-server", "--port", "0", "--tls-port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--aclfile", users,
		"--tls-cert-file", filepath.Join(dir, "cert.pem"), "--tls-key-file", filepath.Join(dir, "key.pem"), "--tls-auth-clients", "no")
	password := "a-secret-word"
	options := Options{
		TLS:      &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authority},
		Password: func() (string, error) { return password, nil },
	}
	again := func() Store {
		store, err := New("rediss://defender@127.0.0.1:"+port, options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		r := store.(*redisStore)
		if _, err := r.Join(context.Background(), Member{Name: "a"}); err != nil {
			t.Fatal(err)
		}
		return store
	}
	r := again().(*redisStore)
	client, err := r.connection()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := client.Info(ctx).Err(); err != nil {
		t.Errorf("its settings: %v", err)
	}
	if err := client.HSet(ctx, "m365:members", "#born", 1).Err(); err != nil {
		t.Fatal(err)
	}
	s := shelf{again: again, lasts: true, shared: true}
	for what, test := range map[string]func(*testing.T, shelf){
		"rows": keepsRows, "ledgers": keepsLedgers, "handed in": takesHandedIn,
	} {
		t.Run(what, func(t *testing.T) {
			for _, suffix := range []string{"", ":spent", ":rows:" + redisLayout} {
				if err := client.Unlink(ctx, r.record(contoso)+suffix).Err(); err != nil {
					t.Fatal(err)
				}
			}
			test(t, s)
		})
	}
	r = again().(*redisStore)
	if _, err := r.Strike(ctx, Member{Identity: "b/1"}); err != nil {
		t.Error(err)
	}
	beat(t, r)
	tenant := mustOpen(t, r, contoso)
	mustSave(t, tenant, nil, example(3))
	if err := client.HSet(ctx, r.rowsKeyOf(contoso), rowField(1), "foreign").Err(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, tenant)
	tenant = mustOpen(t, r, contoso)
	if _, err := load(tenant); err == nil || !strings.Contains(err.Error(), "damaged-") {
		t.Errorf("got %v", err)
	}
	mustClose(t, tenant)
	if _, err := r.Owners(ctx, []Key{contoso}); err != nil {
		t.Error(err)
	}
	if err := r.Leave(ctx); err != nil {
		t.Error(err)
	}
	if err := client.Get(ctx, "foreign").Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("it has more rights than it needs: %v", err)
	}

	password = "another-secret-word"
	store, err := New("rediss://defender@127.0.0.1:"+port, options)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, store)
	if _, err := store.(*redisStore).Join(ctx, Member{Name: "a"}); err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

// rowsKeyOf is where a tenant's rows are.
func (s *redisStore) rowsKeyOf(key Key) string { return s.record(key) + ":rows:" + redisLayout }

// run starts a program, and waits until something listens on the port.
func run(t *testing.T, port, name string, args ...string) *exec.Cmd {
	t.Helper()
	program := exec.Command(name, args...)
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = program.Process.Kill()
		_ = program.Wait()
	})
	for range 500 {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			_ = conn.Close()
			return program
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s does not listen", name)
	return nil
}

// certificate writes one for this machine, which is its own authority.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	is, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(is)
	return pool
}

// TestE2ECluster: all keys of a tenant are in one slot.
func TestE2ECluster(t *testing.T) {
	e := startServer(t, "--cluster-enabled", "yes")
	ctx := context.Background()
	if err := e.ClusterAddSlotsRange(ctx, 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if strings.Contains(e.ClusterInfo(ctx).Val(), "cluster_state:ok") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	e.settle(t)
	for what, test := range map[string]func(*testing.T, shelf){"rows": keepsRows, "tenants": keepsApart, "handed in": takesHandedIn} {
		t.Run(what, func(t *testing.T) {
			e.FlushAll(ctx)
			e.settle(t)
			test(t, shelf{lasts: true, shared: true, again: func() Store {
				store := newStore(t, "redis://"+e.address+"?cluster=true")
				if _, err := store.(*redisStore).Join(ctx, Member{Name: "a"}); err != nil {
					t.Fatal(err)
				}
				return store
			}})
		})
	}
}

// TestE2EFailover: a Sentinel makes the copy the engine, and its owners go on.
func TestE2EFailover(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	first, second, watch := freePort(t), freePort(t), freePort(t)
	serve := func(port string, more ...string) *exec.Cmd {
		return run(t, port, "redis-server", append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--repl-diskless-sync-delay", "0"}, more...)...)
	}
	primary := serve(first)
	serve(second, "--replicaof", "127.0.0.1 "+first)
	settings := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor engine 127.0.0.1 %s 1\nsentinel down-after-milliseconds engine 500\nsentinel failover-timeout engine 3000\n", watch, dir, first)
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, watch, "redis-server", settings, "--sentinel")
	e := newEngine(t, "127.0.0.1:"+first)
	e.settle(t)
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: "127.0.0.1:" + watch})
	defer func() { _ = sentinel.Close() }()
	copies := newEngine(t, "127.0.0.1:"+second)
	for range 1000 {
		known, _ := sentinel.Replicas(ctx, "engine").Result()
		if len(known) == 1 && copies.HLen(ctx, "m365:members").Val() > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	store := newStore(t, "redis://127.0.0.1:"+watch+"?master_name=engine").(*redisStore)
	if _, err := store.Join(ctx, Member{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	tenant := mustOpen(t, store, contoso)
	mustSaveLedger(t, tenant, "before")
	mustSave(t, tenant, nil, example(20))
	if err := e.Wait(ctx, 1, time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	_ = primary.Process.Kill()
	began := time.Now()
	for {
		if _, err := tenant.SaveLedger([]byte("after")); err == nil {
			break
		} else if time.Since(began) > 30*time.Second {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("recorded again after %v", time.Since(began))
	beat(t, store)
	mustSave(t, tenant, example(20), example(20).next())
	mustClose(t, tenant)
	wants(t, store, contoso, example(20).next())
	wantsLedger(t, store, contoso, "after")
}
