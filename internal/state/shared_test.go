package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestShared is what a store has to do that several replicas use at once.
func TestShared(t *testing.T) {
	for name, start := range engines() {
		t.Run(name, func(t *testing.T) {
			for _, test := range []struct {
				what string
				run  func(*testing.T, *engine)
			}{
				{"knows its members", knowsMembers},
				{"is opened by one", openedByOne},
				{"is taken from the dead", takenFromTheDead},
				{"is handed over", handedOver},
				{"refuses who has lost it", refusesTheLost},
				{"tells its owner what others spent", tellsOwner},
				{"does not trust a young data set", young},
				{"is written back when it is empty", emptied},
				{"is healed when it is older", olderCopy},
				{"keeps what is damaged aside", damagedAside},
				{"keeps what is foreign aside", foreignAside},
				{"takes rows that are not its own for none", otherRows},
				{"keeps rows of another layout for a while", otherLayout},
				{"is out of reach", outOfReach},
				{"trusts nobody who was silent", isSilent},
				{"is not opened while it is emptied", emptiedMeanwhile},
				{"loses what another life had opened", anotherLife},
			} {
				t.Run(test.what, func(t *testing.T) { test.run(t, start(t)) })
			}
		})
	}
}

func beat(t *testing.T, s *redisStore) []Member {
	t.Helper()
	members, err := s.Beat(context.Background(), Member{Config: "c", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Identity, b.Identity) })
	return members
}

func strike(t *testing.T, s *redisStore, m Member) bool {
	t.Helper()
	struck, err := s.Strike(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	return struck
}

// kill strikes a replica off that another one has not heard of.
func kill(t *testing.T, by, dead *redisStore) {
	t.Helper()
	for _, m := range beat(t, by) {
		if m.Identity == dead.identity {
			if !strike(t, by, m) {
				t.Fatal("it was not struck off")
			}
		}
	}
}

func wantInUse(t *testing.T, s Store, key Key) {
	t.Helper()
	if _, err := s.Open(key); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
}

func knowsMembers(t *testing.T, e *engine) {
	a, b := e.join(t, "a|%/ä"), e.join(t, "b")
	seen := beat(t, a)
	if len(seen) != 2 || seen[0].Name != "a|%/ä" || seen[1].Name != "b" || seen[0].Config != "c" || seen[0].Version != "1" || seen[0].Leaving {
		t.Fatalf("got %+v", seen)
	}
	if _, err := b.Beat(context.Background(), Member{Config: "other", Version: "2", Leaving: true}); err != nil {
		t.Fatal(err)
	}
	if strike(t, a, seen[1]) {
		t.Error("who has beaten since was struck off")
	}
	now := beat(t, a)
	if now[1].Beats <= seen[1].Beats || !now[1].Leaving || now[1].Config != "other" || now[1].Version != "2" {
		t.Errorf("got %+v, then %+v", seen[1], now[1])
	}
	for range 2 { // an answer may have been lost
		if !strike(t, a, now[1]) {
			t.Error("it was not struck off")
		}
	}
	if _, err := b.Beat(context.Background(), Member{}); !errors.Is(err, ErrStruckOff) {
		t.Errorf("got %v, want %v", err, ErrStruckOff)
	}
	again := e.join(t, "b")
	before, err := newStoreOf(t, e).Join(context.Background(), Member{Name: "b"})
	if before != again.identity || err != nil {
		t.Errorf("got %q, %v, want %q", before, err, again.identity)
	}
	lost := newStoreOf(t, e)
	lost.tried = []string{"c/0123456789abcdef"}
	if err := e.HSet(context.Background(), "m365:members", lost.tried[0], "1|0|c|c|1").Err(); err != nil {
		t.Fatal(err)
	}
	if before, err := lost.Join(context.Background(), Member{Name: "c"}); before != "" || err != nil {
		t.Errorf("its own join, whose answer was lost: got %q, %v", before, err)
	}
	if err := lost.Leave(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := a.Leave(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := e.HLen(context.Background(), "m365:members").Val(); n != 2 {
		t.Errorf("got %d fields, want a member and the birth", n)
	}
}

func newStoreOf(t *testing.T, e *engine) *redisStore {
	return newStore(t, "redis://"+e.address).(*redisStore)
}

func openedByOne(t *testing.T, e *engine) {
	e.settle(t)
	a, b := e.join(t, "a"), e.join(t, "b")
	if _, err := newStoreOf(t, e).Open(contoso); !errors.Is(err, ErrOutOfReach) {
		t.Errorf("without having joined: got %v", err)
	}
	tenant := mustOpen(t, a, contoso)
	if got := tenant.Ownership(); got.From != Nobody || e.now(t).Sub(got.Since).Abs() > time.Minute {
		t.Errorf("got %+v", got)
	}
	wantInUse(t, a, contoso)
	wantInUse(t, b, contoso)
	owners, err := b.Owners(context.Background(), []Key{contoso, {"other", "defender"}})
	if err != nil || !slices.Equal(owners, []string{a.identity, ""}) {
		t.Errorf("got %q, %v", owners, err)
	}
}

func takenFromTheDead(t *testing.T, e *engine) {
	e.settle(t)
	a, b := e.join(t, "a"), e.join(t, "b")
	tenant := mustOpen(t, a, contoso)
	mustSaveLedger(t, tenant, "one")
	mustSave(t, tenant, nil, example(300))
	kill(t, b, a)
	taken := mustOpen(t, b, contoso)
	if got := taken.Ownership(); got.From != Silent || !got.Since.After(tenant.Ownership().Since) {
		t.Errorf("got %+v, after %+v", got, tenant.Ownership())
	}
	if got, err := load(taken); err != nil || !got.equal(example(300)) {
		t.Errorf("got %v, %v", got, err)
	}
	ledger, _, err := taken.LoadLedger()
	if string(ledger.Packed) != "one" || ledger.Age < 0 || ledger.Age > time.Minute || err != nil {
		t.Errorf("got %+v, %v", ledger, err)
	}
}

func handedOver(t *testing.T, e *engine) {
	e.settle(t)
	a, b := e.join(t, "a"), e.join(t, "b")
	tenant := mustOpen(t, a, contoso)
	mustSaveLedger(t, tenant, "final")
	mustClose(t, tenant)
	mustClose(t, tenant) // nothing more happens
	taken := mustOpen(t, b, contoso)
	if got := taken.Ownership(); got.From != Closed || !got.Since.After(tenant.Ownership().Since) {
		t.Errorf("got %+v, after %+v", got, tenant.Ownership())
	}
	if _, err := tenant.SaveLedger([]byte("late")); !errors.Is(err, ErrInUse) {
		t.Errorf("after its end: got %v", err)
	}
}

// refusesTheLost: who is not the owner of record changes nothing.
func refusesTheLost(t *testing.T, e *engine) {
	e.settle(t)
	a, b := e.join(t, "a"), e.join(t, "b")
	tenant := mustOpen(t, a, contoso)
	mustSaveLedger(t, tenant, "one")
	mustSave(t, tenant, nil, example(3))
	kill(t, b, a)
	taken := mustOpen(t, b, contoso)
	mustSaveLedger(t, taken, "two")
	if err := save(tenant, nil, example(4)); !errors.Is(err, ErrInUse) {
		t.Errorf("rows: got %v", err)
	}
	if _, err := tenant.SaveLedger([]byte("three")); !errors.Is(err, ErrInUse) {
		t.Errorf("ledger: got %v", err)
	}
	mustClose(t, tenant)
	if got := mustSaveLedger(t, taken, "two"); got != nil {
		t.Errorf("got %q", got)
	}
	if got, err := load(taken); err != nil || !got.equal(example(3)) {
		t.Errorf("got %v, %v", got, err)
	}
	mustClose(t, taken)
	wantsLedger(t, b, contoso, "two")
}

func tellsOwner(t *testing.T, e *engine) {
	e.settle(t)
	a, b := e.join(t, "a"), newStoreOf(t, e) // a check joins nothing
	tenant := mustOpen(t, a, contoso)
	mustSaveLedger(t, tenant, "own")
	var all []string
	for i := range 40 {
		all = append(all, fmt.Sprintf("%02d", i))
		if err := b.HandIn(contoso, []byte(all[i])); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.RPush(context.Background(), a.record(contoso)+":spent", "5|foreign").Err(); err != nil {
		t.Fatal(err)
	}
	var told []string
	for range 5 {
		told = append(told, mustSaveLedger(t, tenant, "own, "+strings.Join(told, ", "))...)
	}
	if !slices.Equal(told, all) {
		t.Errorf("got %q", told)
	}
	if n := e.LLen(context.Background(), a.record(contoso)+":spent").Val(); n != 0 {
		t.Errorf("%d are left", n)
	}
	if err := b.HandIn(contoso, make([]byte, longestSpent+1)); err == nil {
		t.Error("what is too long was taken")
	}
	mustClose(t, tenant)
}

// young: as long as living owners may not have said so, nobody takes what it did
// not have; and as long as calls may be forgotten, no ledger is new.
func young(t *testing.T, e *engine) {
	a := e.join(t, "a")
	wantInUse(t, a, contoso)
	e.age(t, time.Minute)
	beat(t, a)
	tenant := mustOpen(t, a, contoso)
	if ledger, _, err := tenant.LoadLedger(); ledger.Packed != nil || !errors.Is(err, ErrSetAside) {
		t.Errorf("a minute old: got %+v, %v", ledger, err)
	}
	mustSaveLedger(t, tenant, "lost")
	mustClose(t, tenant)
	wantsLedger(t, a, contoso, "lost")
	e.age(t, 2*time.Hour)
	beat(t, a)
	wantsLedger(t, a, Key{"other", "defender"}, "")
}

// emptied: the living write themselves back, and only then can others take what is
// left.
func emptied(t *testing.T, e *engine) {
	e.settle(t)
	a, b := e.join(t, "a"), e.join(t, "b")
	other := Key{"other", "defender"}
	tenant, quiet := mustOpen(t, a, contoso), mustOpen(t, a, other)
	mustSaveLedger(t, tenant, "one")
	mustSave(t, tenant, nil, example(20))
	mustSaveLedger(t, quiet, "quiet")
	if err := e.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	if got := beat(t, b); len(got) != 1 {
		t.Errorf("got %+v", got)
	}
	wantInUse(t, b, contoso)
	if got := beat(t, a); len(got) != 2 {
		t.Errorf("got %+v", got)
	}
	a.writing.Wait() // what a has is in the engine again, without a call being due
	e.age(t, time.Minute)
	beat(t, b)
	b.writing.Wait()
	for _, key := range []Key{contoso, other} {
		wantInUse(t, b, key)
	}
	if got, _, err := b.Peek(other); string(got.Packed) != "quiet" || err != nil {
		t.Errorf("got %q, %v", got.Packed, err)
	}
	mustSaveLedger(t, tenant, "two")
	mustSave(t, tenant, example(20), example(20).next())
	mustClose(t, tenant)
	wants(t, b, contoso, example(20).next())
	if got := tenant.Ownership().Since; got.IsZero() {
		t.Error("it has no epoch")
	}

	// The next save may come before the next beat.
	if err := e.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	mustSave(t, quiet, nil, example(5))
	e.settle(t)
	beat(t, a)
	mustClose(t, quiet)
	wants(t, a, other, example(5))
	wantsLedger(t, a, other, "quiet")
}

// olderCopy: an engine that fails over may come back as it was before the last
// owner took the state. The newer owner writes itself back, and learns what the
// copy has.
func olderCopy(t *testing.T, e *engine) {
	e.settle(t)
	a, b := e.join(t, "a"), e.join(t, "b")
	tenant := mustOpen(t, a, contoso)
	mustSaveLedger(t, tenant, "of a")
	ctx := context.Background()
	before := e.HGetAll(ctx, a.record(contoso)).Val()
	kill(t, b, a)
	taken := mustOpen(t, b, contoso)
	mustSaveLedger(t, taken, "of b")
	if err := e.HSet(ctx, a.record(contoso), before).Err(); err != nil {
		t.Fatal(err)
	}
	if got := mustSaveLedger(t, taken, "of b"); !slices.Equal(got, []string{"of a"}) {
		t.Errorf("got %q", got)
	}
	if got := mustSaveLedger(t, taken, "of b and a"); got != nil {
		t.Errorf("told twice: %q", got)
	}
	if _, err := tenant.SaveLedger([]byte("late")); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	mustClose(t, taken)
}

func damagedAside(t *testing.T, e *engine) {
	e.settle(t)
	ctx := context.Background()
	a := e.join(t, "a")
	tenant := mustOpen(t, a, contoso)
	mustSaveLedger(t, tenant, "own")
	mustSave(t, tenant, nil, example(50))
	mustClose(t, tenant)
	rows := a.record(contoso) + ":rows:" + redisLayout
	whole := e.HGetAll(ctx, rows).Val()
	for _, damage := range []func(){
		func() { e.HSet(ctx, rows, rowField(1), "foreign") },
		func() { e.HDel(ctx, rows, rowField(1)) },
		func() { e.HSet(ctx, rows, "foreign", "field") },
		func() { e.HSet(ctx, rows, rowField(1), whole[rowField(8)]) },
		func() { e.HSet(ctx, rows, headField, "short") },
		func() { e.HSet(ctx, rows, partField(0), whole[rowField(1)]) },
	} {
		e.Del(ctx, rows)
		e.HSet(ctx, rows, whole)
		damage()
		tenant := mustOpen(t, a, contoso)
		if got, err := load(tenant); !errors.Is(err, ErrSetAside) {
			t.Errorf("got %v, %v", got, err)
		}
		mustSave(t, tenant, nil, example(3))
		mustClose(t, tenant)
		wants(t, a, contoso, example(3))
	}
	e.HSet(ctx, a.record(contoso), "l", "foreign")
	tenant = mustOpen(t, a, contoso)
	if got, _, err := tenant.LoadLedger(); got.Packed != nil || !errors.Is(err, ErrSetAside) {
		t.Errorf("got %v, %v", got, err)
	}
	aside := e.Keys(ctx, "m365:*damaged*").Val()
	if len(aside) == 0 {
		t.Fatal("nothing was kept")
	}
	for _, key := range aside {
		if ttl := e.TTL(ctx, key).Val(); ttl <= 29*24*time.Hour {
			t.Errorf("%s is kept for %v", key, ttl)
		}
	}
	mustClose(t, tenant)
}

// foreignAside: what is not of this program's making, in the place of a record, of
// what was handed in or of rows, is kept under another key. Its ledger counts as lost
// unless its owner has it, and the owners of all others are known.
func foreignAside(t *testing.T, e *engine) {
	e.settle(t)
	ctx := context.Background()
	a := e.join(t, "a")
	record := a.record(contoso)
	foreign := func(key string) {
		e.Del(ctx, key)
		if err := e.Set(ctx, key, "foreign", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{record, record + ":spent"} {
		tenant := mustOpen(t, a, contoso)
		mustSaveLedger(t, tenant, "own")
		foreign(key)
		if _, err := tenant.SaveLedger([]byte("own still")); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		mustClose(t, tenant)
		tenant = mustOpen(t, a, contoso)
		if got, _, err := tenant.LoadLedger(); string(got.Packed) != "own still" || err != nil {
			t.Errorf("%s: the owner has lost its own: %q, %v", key, got.Packed, err)
		}
		mustClose(t, tenant)
		foreign(key)
		owners, err := a.Owners(ctx, []Key{contoso, {Tenant: "other", API: "defender"}})
		if err != nil || len(owners) != 2 {
			t.Errorf("%s: got %q, %v", key, owners, err)
		}
		if _, _, err := a.Peek(contoso); !errors.Is(err, errDamaged) {
			t.Errorf("%s: peeked %v", key, err)
		}
		tenant = mustOpen(t, a, contoso)
		if got, _, err := tenant.LoadLedger(); got.Packed != nil || !errors.Is(err, ErrSetAside) {
			t.Errorf("%s: got %v, %v", key, got, err)
		}
		mustSaveLedger(t, tenant, "own")
		mustClose(t, tenant)
	}
	tenant := mustOpen(t, a, contoso)
	rows := record + ":rows:" + redisLayout
	mustSave(t, tenant, nil, example(3))
	foreign(rows)
	mustSave(t, tenant, example(3), example(4))
	foreign(rows)
	if got, err := load(tenant); !errors.Is(err, ErrSetAside) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, key := range []string{record, record + ":spent", rows} {
		aside := e.Keys(ctx, key+":damaged-*").Val()
		if len(aside) == 0 || e.Get(ctx, aside[0]).Val() != "foreign" || e.TTL(ctx, aside[0]).Val() <= 29*24*time.Hour {
			t.Errorf("%s: kept %q", key, aside)
		}
	}
	mustClose(t, tenant)
}

// otherRows: what is there is not what the changes build upon.
func otherRows(t *testing.T, e *engine) {
	e.settle(t)
	ctx := context.Background()
	a := e.join(t, "a")
	tenant := mustOpen(t, a, contoso)
	rows := a.record(contoso) + ":rows:" + redisLayout
	c := example(2500) // three steps
	mustSave(t, tenant, nil, c)
	for _, change := range []func(){
		func() { e.Del(ctx, rows) },
		func() { e.HDel(ctx, rows, headField) },
		func() { e.HDel(ctx, rows, rowField(1)) },
	} {
		change()
		next := c.next()
		if err := save(tenant, c, next); err != nil { // a row that is missing is seen afterwards
			mustSave(t, tenant, nil, next)
		}
		c = next
	}
	// A full save that did not come to its end is none.
	e.HDel(ctx, rows, headField)
	mustClose(t, tenant)
	wants(t, a, contoso, nil)
}

func otherLayout(t *testing.T, e *engine) {
	e.settle(t)
	ctx := context.Background()
	a := e.join(t, "a")
	old := a.record(contoso) + ":rows:0.9"
	e.HSet(ctx, old, headField, "of another version")
	e.HSet(ctx, a.record(contoso), "r", "0.9")
	tenant := mustOpen(t, a, contoso)
	mustSave(t, tenant, nil, example(3))
	rows := a.record(contoso) + ":rows:" + redisLayout
	if ttl := e.TTL(ctx, old).Val(); ttl <= 29*24*time.Hour {
		t.Errorf("the other layout is kept for %v", ttl)
	}
	// And back: what expires is used again, and does not expire then.
	e.HSet(ctx, a.record(contoso), "r", "0.9")
	e.Expire(ctx, rows, time.Hour)
	mustSave(t, tenant, example(3), example(3).next())
	if ttl := e.TTL(ctx, rows).Val(); ttl != -1 {
		t.Errorf("the layout in use is kept for %v", ttl)
	}
	mustClose(t, tenant)
}

func outOfReach(t *testing.T, e *engine) {
	e.settle(t)
	a := e.join(t, "a")
	tenant := mustOpen(t, a, contoso)
	mustSaveLedger(t, tenant, "own")
	// Nothing listens where it is looked for.
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = client.Close() })
	a.mu.Lock()
	reached := a.client
	a.client = client
	a.mu.Unlock()
	_, err := tenant.SaveLedger([]byte("more"))
	_, opened := a.Open(Key{"other", "defender"})
	_, beaten := a.Beat(context.Background(), Member{})
	_, _, peeked := a.Peek(contoso)
	_, joined := a.Join(context.Background(), Member{Name: "a"})
	_, loaded := load(tenant)
	for i, err := range []error{err, save(tenant, nil, example(1)), opened, beaten, peeked, joined, loaded, a.HandIn(contoso, nil), tenant.Close(), a.Leave(context.Background())} {
		if !errors.Is(err, ErrOutOfReach) {
			t.Errorf("%d: got %v, want %v", i, err, ErrOutOfReach)
		}
	}
	a.mu.Lock()
	a.client = reached
	a.mu.Unlock()
	// The same member, who is the owner still, opens it again.
	again := mustOpen(t, a, contoso)
	if !again.Ownership().Since.After(tenant.Ownership().Since) {
		t.Error("the epoch has not grown")
	}
	mustSaveLedger(t, again, "again")
	mustClose(t, again)
}

// anotherLife: who joins again has lost what it had.
func anotherLife(t *testing.T, e *engine) {
	e.settle(t)
	a := e.join(t, "a")
	tenant := mustOpen(t, a, contoso)
	mustSaveLedger(t, tenant, "own")
	if _, err := a.Join(context.Background(), Member{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.SaveLedger([]byte("more")); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	again := mustOpen(t, a, contoso)
	mustClose(t, tenant) // which must not give away what is another's now
	wantInUse(t, e.join(t, "b"), contoso)
	if got := again.Ownership().From; got != Silent {
		t.Errorf("got %v", got)
	}
	mustClose(t, again)
}

// emptiedMeanwhile: a data set that begins anew while a state is opened is not taken
// for the old one, which would make a tenant whose ledger is lost a new one.
func emptiedMeanwhile(t *testing.T, e *engine) {
	e.settle(t)
	a := e.join(t, "a")
	open := a.scripts.open
	a.scripts.open = redis.NewScript("redis.call('HSET', '" + a.members() + "', '#born', redis.call('TIME')[1] .. '000')\n" + openScript)
	if _, err := a.Open(contoso); !errors.Is(err, ErrOutOfReach) {
		t.Errorf("got %v, want %v", err, ErrOutOfReach)
	}
	a.scripts.open = open
	tenant := mustOpen(t, a, contoso)
	if _, _, err := tenant.LoadLedger(); !errors.Is(err, ErrSetAside) {
		t.Errorf("the ledger: got %v, want %v", err, ErrSetAside)
	}
}

// isSilent: who was not heard for longer than the patience makes no call before it
// has beaten again, and is nobody any more if the engine was emptied meanwhile: it
// may have been struck off before that.
func isSilent(t *testing.T, e *engine) {
	e.settle(t)
	a := e.join(t, "a")
	tenant := mustOpen(t, a, contoso)
	mustSaveLedger(t, tenant, "first")
	a.mu.Lock()
	a.heard = a.heard.Add(-a.silence - time.Second)
	a.mu.Unlock()
	if _, err := tenant.SaveLedger([]byte("second")); !errors.Is(err, ErrOutOfReach) {
		t.Errorf("got %v, want %v", err, ErrOutOfReach)
	}
	beat(t, a)
	mustSaveLedger(t, tenant, "second")
	a.mu.Lock()
	a.heard = a.heard.Add(-a.silence - time.Second)
	a.mu.Unlock()
	if err := e.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Beat(context.Background(), Member{}); !errors.Is(err, ErrStruckOff) {
		t.Errorf("got %v, want %v", err, ErrStruckOff)
	}
	if _, err := tenant.SaveLedger([]byte("third")); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
}
