package state

import (
	"cmp"
	"compress/flate"
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"m365_defender_exporter/internal/incident"
	"m365_defender_exporter/internal/scrub"
)

// redisStore keeps all tenants in Redis or Valkey, and is shared by replicas. It
// decides nothing that a script could decide for it: whose a state is, the engine
// says, in one step with the write that depends on it.
//
// Keys, all of one tenant in one slot of a cluster:
//
//	PREFIX:members                       identity → beats|leaving|name|config|version, #born: when this data set began
//	PREFIX:{TENANT-API}                  o owner, e epoch, f how it was taken, k by which opening, n number of the ledger,
//	                                     l ledger, lt when that was written, r layout of the rows
//	PREFIX:{TENANT-API}:spent            ledgers that were handed in, each after its instant
//	PREFIX:{TENANT-API}:rows:LAYOUT      head, id → row, parts of the sweep
//
// Instants are those of the engine, in milliseconds since 1970. No key of these
// expires, but for rows of a layout that is not written any more.
type redisStore struct {
	engine  *redisURL
	logger  *slog.Logger
	observe func(Operation, time.Duration, error)
	// patience is how long a silent member is waited for.
	patience time.Duration
	// silence is how long this replica may be without having been heard: the same.
	silence time.Duration
	scripts redisScripts
	dial    func() (redis.UniversalClient, error)

	scrubber scrub.Scrubber
	mu       sync.Mutex // of what follows; never held while waiting
	client   redis.UniversalClient
	identity string    // "" before the first Join
	tried    []string  // identities of joins, the answers to some of which were lost
	born     string    // the data set that we are a member of
	heard    time.Time // when the engine last heard us
	open     map[Key]*redisTenant
	told     bool // what is wrong with the settings of the engine

	beats   atomic.Uint64
	deflate sync.Pool      // of *flate.Writer, which are large
	writing sync.WaitGroup // what the engine has lost
}

const (
	// redisLimit bounds every exchange with the engine.
	redisLimit = 3 * time.Second
	// defaultPatience is that of the flag --replica.patience.
	defaultPatience = 10 * time.Second
	// youngFor is how long a data set may lack calls that were made before it began:
	// the longest window, and how long a call may be on its way.
	youngFor = time.Hour + 16*time.Minute
	// keptAside is how long what is damaged is kept, and the rows of a layout that is
	// not written any more.
	keptAside = 30 * 24 * time.Hour
)

// redisLayout is that of the rows. It is part of their key: that of the ledger does
// not depend on it, so that two versions of the program can share it.
var redisLayout = fmt.Sprint("1.", incident.Encoding)

// The scripts.
var (
	//go:embed scripts/join.lua
	joinScript string
	//go:embed scripts/beat.lua
	beatScript string
	//go:embed scripts/strike.lua
	strikeScript string
	//go:embed scripts/open.lua
	openScript string
	//go:embed scripts/grant.lua
	grantScript string
	//go:embed scripts/save.lua
	saveScript string
	//go:embed scripts/close.lua
	closeScript string
	//go:embed scripts/aside.lua
	asideScript string
	//go:embed scripts/foreign.lua
	foreignScript string
	//go:embed scripts/handin.lua
	handInScript string
	//go:embed scripts/peek.lua
	peekScript string
)

type redisScripts struct {
	join, beat, strike, open, grant, save, close, aside, foreign, handIn, peek *redis.Script
}

func newRedis(engine *redisURL, o Options) *redisStore {
	s := &redisStore{
		engine: engine, logger: o.Logger, observe: o.Observe, patience: cmp.Or(o.Patience, defaultPatience), silence: cmp.Or(o.Patience, defaultPatience),
		open: make(map[Key]*redisTenant),
		scripts: redisScripts{
			join: redis.NewScript(joinScript), beat: redis.NewScript(beatScript), strike: redis.NewScript(strikeScript),
			open: redis.NewScript(openScript), grant: redis.NewScript(grantScript), save: redis.NewScript(saveScript),
			close: redis.NewScript(closeScript), aside: redis.NewScript(asideScript), handIn: redis.NewScript(handInScript),
			foreign: redis.NewScript(foreignScript), peek: redis.NewScript(peekScript),
		},
	}
	s.deflate.New = func() any {
		w, err := flate.NewWriter(nil, flate.BestSpeed)
		if err != nil {
			panic(err) // the level is one that there is
		}
		return w
	}
	if s.observe == nil {
		s.observe = func(Operation, time.Duration, error) {}
	}
	password := o.Password
	if password == nil {
		password = func() (string, error) { return "", nil }
	}
	o.Password = func() (string, error) {
		word, err := password()
		s.scrubber.Secret("password", word)
		return word, err
	}
	s.dial = func() (redis.UniversalClient, error) { return engine.client(o) }
	redis.SetLogger(redisLogger{s})
	return s
}

// redisLogger takes what the client library says for what it is worth.
type redisLogger struct{ store *redisStore }

func (l redisLogger) Printf(ctx context.Context, format string, args ...any) {
	l.store.logger.DebugContext(ctx, "The Redis client says", "text", l.store.shown(fmt.Sprintf(format, args...)))
}

// shown is a text of the engine's without the password, which it may repeat: a command that
// it does not know is quoted.
func (s *redisStore) shown(text string) string { return bounded(s.scrubber.Text(text)) }

// client makes the client of the engine, which connects when it is used.
func (u *redisURL) client(o Options) (redis.UniversalClient, error) {
	var tlsConfig *tls.Config
	if u.tls {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if o.TLS != nil {
			tlsConfig = o.TLS.Clone()
		}
	}
	options := &redis.UniversalOptions{
		Addrs: u.addresses, DB: u.database, MasterName: u.master, IsClusterMode: u.cluster,
		// Everything that is asked for may be asked twice.
		MaxRetries:  2,
		DialTimeout: redisLimit, DialerRetries: 1, ReadTimeout: redisLimit, WriteTimeout: redisLimit, PoolTimeout: redisLimit,
		ContextTimeoutEnabled: true,
		Dialer:                dialBounded(tlsConfig),
		Protocol:              2, DisableIdentity: true, PipelinePoolSize: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		// For each connection anew: a password that was changed is that of the next.
		CredentialsProviderContext: func(context.Context) (string, string, error) {
			word, err := o.Password()
			return u.user, word, err
		},
	}
	if u.sentinelAuth {
		var err error
		if options.SentinelPassword, err = o.Password(); err != nil {
			return nil, err
		}
	}
	return redis.NewUniversalClient(options), nil
}

// maxAnswer bounds an answer of the engine, in bytes: rows come in parts of some hundred,
// and the client library reads a line to its end, wherever that is.
const maxAnswer = 64 << 20

var errLongAnswer = errors.New("the answer is longer than 64 MiB")

// dialBounded connects, by TLS if there is a config, so that no answer is read that is longer.
func dialBounded(config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: redisLimit}
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		if config == nil {
			conn, err = dialer.DialContext(ctx, network, address)
		} else {
			conn, err = (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, network, address)
		}
		if err != nil {
			return nil, err
		}
		bounded := &boundedConn{Conn: conn}
		if plain, ok := conn.(syscall.Conn); ok {
			return plainConn{bounded, plain}, nil
		}
		return bounded, nil
	}
}

// plainConn lets the client library see whether a connection that was kept is alive.
type plainConn struct {
	*boundedConn
	syscall.Conn
}

// boundedConn fails when too much was read since something was written.
type boundedConn struct {
	net.Conn
	read atomic.Int64
}

func (c *boundedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.read.Add(int64(n)) > maxAnswer {
		return 0, errLongAnswer
	}
	return n, err
}

func (c *boundedConn) Write(p []byte) (int, error) {
	c.read.Store(0)
	return c.Conn.Write(p)
}

// connection is the client, once there is one.
func (s *redisStore) connection() (redis.UniversalClient, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		client, err := s.dial()
		if err != nil {
			return nil, err
		}
		s.client = client
	}
	return s.client, nil
}

// exchange has do talk to the engine, within the time limit. Its error matches
// ErrOutOfReach.
func (s *redisStore) exchange(ctx context.Context, what Operation, do func(context.Context, redis.UniversalClient) error) error {
	client, err := s.connection()
	began := time.Now()
	if err == nil {
		limited, cancel := context.WithTimeout(ctx, redisLimit)
		defer cancel()
		err = do(limited, client)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s: %s", ErrOutOfReach, what, s.shown(err.Error()))
	}
	s.observe(what, time.Since(began), err)
	return err
}

// run runs a script, whose answer is a list.
func (s *redisStore) run(ctx context.Context, what Operation, script *redis.Script, keys []string, args ...any) (answer []any, err error) {
	err = s.exchange(ctx, what, func(ctx context.Context, client redis.UniversalClient) (err error) {
		answer, err = script.Run(ctx, client, keys, args...).Slice()
		return err
	})
	return answer, err
}

// number runs a script, whose answer is a number.
func (s *redisStore) number(ctx context.Context, what Operation, script *redis.Script, keys []string, args ...any) (answer int64, err error) {
	err = s.exchange(ctx, what, func(ctx context.Context, client redis.UniversalClient) (err error) {
		answer, err = script.Run(ctx, client, keys, args...).Int64()
		return err
	})
	return answer, err
}

// bounded is a foreign text in one line of bounded length.
func bounded(text string) string {
	const most = 200 // bytes
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '�' {
			return '?'
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// members is the key of those.
func (s *redisStore) members() string { return s.engine.prefix + ":members" }

// record is the key of a tenant's record.
func (s *redisStore) record(key Key) string {
	key = key.folded()
	return s.engine.prefix + ":{" + escaped(key.Tenant) + "-" + escaped(key.API) + "}"
}

// Forget implements Store: what is in the engine costs this process nothing.
func (*redisStore) Forget(Key) {}

// Close implements Store.
func (s *redisStore) Close() error {
	s.writing.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	client := s.client
	s.client = nil
	if client == nil {
		return nil
	}
	if err := client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("close the connections to the shared state: %w", err)
	}
	return nil
}

// checkSettings says once if the engine is set up to lose what it is given.
func (s *redisStore) checkSettings(ctx context.Context) {
	s.mu.Lock()
	client, told := s.client, s.told
	s.told = true
	s.mu.Unlock()
	if told {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	info, err := client.Info(ctx).Result()
	if err != nil {
		s.logger.Debug("The settings of the shared state are not known", "err", s.shown(err.Error()))
		return
	}
	setting := func(name string) string {
		_, rest, _ := strings.Cut("\n"+info, "\n"+name+":")
		value, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(value)
	}
	if policy := setting("maxmemory_policy"); policy != "" && policy != "noeviction" {
		s.logger.Warn("The shared state may evict what it keeps when its memory is full, the ledgers included; set maxmemory-policy to noeviction", "maxmemory_policy", bounded(policy))
	}
	if setting("aof_enabled") == "0" {
		s.logger.Warn("The shared state forgets its last writes when it is restarted; set appendonly to yes")
	}
}
