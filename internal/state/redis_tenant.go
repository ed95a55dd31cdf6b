package state

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisTenant is a tenant of which a member is the owner of record. Once it has
// lost that it stays lost: to open it again makes another one.
type redisTenant struct {
	store     *redisStore
	key       Key
	at        place
	identity  string
	epoch     int64
	ownership Ownership

	mu     sync.Mutex
	lost   bool
	number uint64 // of the ledger, in the epoch
	ledger string // as it was last recorded, sealed; "": it never was
	told   []string
	// opened is what there was when it was opened.
	opened struct {
		at     time.Time
		ledger string
		age    time.Duration // -1: there was none
		spent  []Written
		young  time.Duration // how old the data set was then
	}

	rows redisRows
	size [2]atomic.Int64 // of the rows, of the ledger
}

// How many of the ledgers that were handed in are read when a state is opened, and
// by each grant; the rest by the next.
const (
	spentAtOpen  = 64
	spentAtGrant = 16
)

// Open implements Store. It reads who the owner is first, then whether that one is
// a member: one that is none stays none, so that the state can be taken if the owner
// is the same still. A member that joins in between has another identity.
func (s *redisStore) Open(key Key) (Tenant, error) {
	var token [8]byte
	_, _ = rand.Read(token[:]) // it never fails
	t := &redisTenant{store: s, key: key.folded(), at: key.head().record(kindLedger, 0)}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.mu.Lock()
	t.identity = s.identity
	before := s.open[t.key]
	if before == nil {
		s.open[t.key] = t
	}
	s.mu.Unlock()
	if before != nil {
		return nil, configuredTwice(key)
	}
	err := t.open(hex.EncodeToString(token[:]))
	if t.mends(err, true) {
		err = t.open(hex.EncodeToString(token[:]))
	}
	if err != nil {
		t.forget()
		return nil, err
	}
	return t, nil
}

// forget makes room for another opening.
func (t *redisTenant) forget() {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	if t.store.open[t.key] == t {
		delete(t.store.open, t.key)
	}
}

func (t *redisTenant) open(token string) error {
	if t.identity == "" {
		return fmt.Errorf("%w: this replica has not joined the others yet", ErrOutOfReach)
	}
	s, ctx := t.store, context.Background()
	var owner string
	err := s.exchange(ctx, OperationOpen, func(ctx context.Context, client redis.UniversalClient) (err error) {
		if owner, err = client.HGet(ctx, s.record(t.key), "o").Result(); errors.Is(err, redis.Nil) {
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	var members []any
	err = s.exchange(ctx, OperationOpen, func(ctx context.Context, client redis.UniversalClient) (err error) {
		members, err = client.HMGet(ctx, s.members(), "#born", t.identity, owner).Result()
		return err
	})
	if err != nil {
		return err
	}
	born, _ := text(members, 0)
	_, member := text(members, 1)
	_, alive := text(members, 2)
	switch {
	case born == "" || !member:
		return fmt.Errorf("%w: this replica is not among the members yet", ErrInUse)
	case alive && owner != t.identity:
		return t.inUse(owner)
	}
	answer, err := s.run(ctx, OperationOpen, s.scripts.open, t.keys(),
		t.identity, owner, born, s.patience.Milliseconds(), spentAtOpen, token)
	if err != nil {
		return err
	}
	var now string
	err = s.exchange(ctx, OperationOpen, func(ctx context.Context, client redis.UniversalClient) (err error) {
		now, err = client.HGet(ctx, s.members(), "#born").Result()
		return err
	})
	switch {
	case err != nil:
		return err
	case now != born: // which the script cannot see: that is in another slot
		return fmt.Errorf("%w: it was emptied while the tenant was opened", ErrOutOfReach)
	}
	return t.opening(answer)
}

func (t *redisTenant) inUse(owner string) error {
	return fmt.Errorf("%w: replica %s", ErrInUse, bounded(owner))
}

// keys are the record, and what was handed in.
func (t *redisTenant) keys() []string {
	record := t.store.record(t.key)
	return []string{record, record + ":spent"}
}

// opening reads the answer of the script.
func (t *redisTenant) opening(answer []any) error {
	switch what, _ := text(answer, 0); what {
	case "taken":
		owner, _ := text(answer, 1)
		return t.inUse(owner)
	case "young":
		return fmt.Errorf("%w: the shared state has just begun, and its owner may not have said so yet", ErrInUse)
	case "open":
	default:
		return errAnswer
	}
	epoch, from, err := twoTexts(answer[1:])
	if err != nil {
		return err
	}
	if t.epoch, err = strconv.ParseInt(epoch, 10, 64); err != nil || t.epoch <= 0 {
		return errAnswer
	}
	var first, second, third bool
	t.opened.at = time.Now()
	t.opened.ledger, first = text(answer, 3)
	t.opened.age, second = millis(answer, 4)
	t.opened.young, third = millis(answer, 5)
	t.rows.written, _ = text(answer, 6)
	if !first || !second || !third {
		return errAnswer
	}
	t.ledger = t.opened.ledger
	t.size[1].Store(int64(len(t.ledger)))
	t.opened.spent = t.unpackSpent(answer[7:])
	t.ownership = Ownership{Since: time.UnixMilli(t.epoch), From: map[string]Predecessor{"closed": Closed, "silent": Silent}[from]}
	return nil
}

// unpackSpent reads what was handed in, which is told from now on.
func (t *redisTenant) unpackSpent(answer []any) []Written {
	spent, raw := unpackSpent(t.at, answer)
	t.told = append(t.told, raw...)
	if len(raw) > len(spent) {
		t.store.logger.Warn("Calls that were handed in cannot be read", "tenant", t.key.Tenant, "ledgers", len(raw)-len(spent))
	}
	return spent
}

func unpackSpent(at place, answer []any) (spent []Written, raw []string) {
	for i := 0; i+1 < len(answer); i += 2 {
		entry, _ := text(answer, i+1)
		age, _ := millis(answer, i)
		_, sealed, _ := strings.Cut(entry, "|")
		raw = append(raw, entry)
		if data, whole := at.unseal([]byte(sealed)); whole {
			spent = append(spent, Written{data, age})
		}
	}
	return spent, raw
}

// LoadLedger implements Tenant.
func (t *redisTenant) LoadLedger() (ledger Written, spent []Written, err error) {
	o := &t.opened
	since := time.Since(o.at)
	spent = o.spent
	for i := range spent {
		spent[i].Age += since
	}
	if o.age < 0 {
		if o.young < youngFor {
			err = fmt.Errorf("%w: there is none, and the shared state, which is %v old, may have lost it", ErrSetAside, o.young.Round(time.Second))
		}
		return Written{Age: -1}, spent, err
	}
	if o.ledger == "" {
		return Written{Age: -1}, spent, fmt.Errorf("%w: something else was in the place of the ledger, or of calls that were handed in", ErrSetAside)
	}
	data, whole := t.at.unseal([]byte(o.ledger))
	if !whole {
		return Written{Age: -1}, spent, t.setAside(damagedf("the ledger"))
	}
	return Written{data, o.age + since}, spent, nil
}

// Ownership implements Tenant.
func (t *redisTenant) Ownership() Ownership { return t.ownership }

// Size implements Tenant.
func (t *redisTenant) Size() int64 { return t.size[0].Load() + t.size[1].Load() }

// SaveLedger implements Tenant.
func (t *redisTenant) SaveLedger(ledger []byte) (spent []Written, err error) {
	if len(ledger) > longestSpent {
		return nil, fmt.Errorf("save the ledger: it has %d bytes, of at most %d", len(ledger), longestSpent)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	told := t.told
	answer, err := t.record(string(t.at.seal(append([]byte{}, ledger...))), spentAtGrant, told)
	if err != nil {
		return nil, fmt.Errorf("save the ledger: %w", err)
	}
	t.told = nil
	t.size[1].Store(int64(len(ledger)))
	return t.unpackSpent(answer), nil
}

// record puts a sealed ledger into the engine, if the state is ours still. It returns
// what was handed in. It is called with the lock held.
func (t *redisTenant) record(sealed string, atMost int, told []string) (spent []any, err error) {
	if err := t.ours(); err != nil {
		return nil, err
	}
	t.number++
	args := []any{t.identity, t.epoch, t.number, sealed, atMost}
	for _, entry := range told {
		args = append(args, entry)
	}
	answer, err := t.store.run(context.Background(), OperationGrant, t.store.scripts.grant, t.keys(), args...)
	if t.mends(err, false) {
		answer, err = t.store.run(context.Background(), OperationGrant, t.store.scripts.grant, t.keys(), args...)
	}
	if err != nil {
		return nil, err
	}
	done, ok := answer[0].(int64)
	switch {
	case !ok:
		return nil, errAnswer
	case done == 0:
		t.lost = true
		return nil, ErrInUse
	}
	t.ledger = sealed
	return answer[1:], nil
}

// ours tells what is known without asking. It is called with the lock held.
func (t *redisTenant) ours() error {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	if t.lost = t.lost || t.store.identity != t.identity; t.lost {
		return ErrInUse
	}
	if t.store.silent() {
		return fmt.Errorf("%w: it has not heard this replica for %v", ErrOutOfReach, t.store.silence)
	}
	return nil
}

// writeBack records the last ledger again, in an engine that has lost it. That it is
// dated by then makes it no more generous.
func (t *redisTenant) writeBack() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.epoch == 0 {
		return nil // it was not opened after all
	}
	_, err := t.record(t.ledger, 1, nil) // what was handed in is told by the next grant
	if errors.Is(err, ErrInUse) {
		err = nil // which is as good to know
	}
	return err
}

// Close implements Tenant.
func (t *redisTenant) Close() error {
	defer t.forget()
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(t.ours(), ErrInUse) {
		return nil
	}
	t.lost = true
	_, err := t.store.number(context.Background(), OperationOpen, t.store.scripts.close, t.keys()[:1], t.identity, t.epoch)
	if err != nil {
		return fmt.Errorf("release the state: %w", err)
	}
	return nil
}

// setAside keeps the ledger, or the rows, under another key.
func (t *redisTenant) setAside(why error, rows ...string) error {
	record := t.store.record(t.key)
	aside := record + ":damaged-" + time.Now().UTC().Format("20060102T150405.000Z")
	_, err := t.store.number(context.Background(), OperationLoad, t.store.scripts.aside, append([]string{record, aside}, rows...),
		t.identity, t.epoch, int(keptAside.Seconds()))
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrSetAside, why), err)
	}
	return fmt.Errorf("%w and was set aside as %s: %w", ErrSetAside, aside, why)
}

// isForeign tells that an exchange has failed for a key that holds what no program of
// ours puts there.
func isForeign(err error) bool { return err != nil && strings.Contains(err.Error(), "WRONGTYPE") }

// mends sets aside what is not of this program's making in the place of the tenant's
// keys, if that is what an exchange has failed for, and tells whether to try that again.
// lost: the ledger that was there is not known here.
func (t *redisTenant) mends(failed error, lost bool) bool {
	if !isForeign(failed) {
		return false
	}
	keys := append(t.keys(), t.rowsKey(redisLayout))
	now := time.Now().UTC().Format("20060102T150405.000Z")
	for _, key := range keys[:3:3] {
		keys = append(keys, key+":damaged-"+now)
	}
	mode := 0
	if lost {
		mode = 1
	}
	kept, err := t.store.number(context.Background(), OperationLoad, t.store.scripts.foreign, keys, int(keptAside.Seconds()), mode)
	if err == nil && kept > 0 {
		t.store.logger.Error("What was in the place of the tenant's state is not of this program and was set aside",
			"tenant", t.key.Tenant, "as", t.store.record(t.key)+"…:damaged-"+now, "err", failed)
	}
	return err == nil
}

// Peek implements Store. A shared state can be read while its owner is at work.
func (s *redisStore) Peek(key Key) (ledger Written, spent []Written, err error) {
	record := s.record(key)
	answer, err := s.run(context.Background(), OperationLoad, s.scripts.peek, []string{record, record + ":spent"}, spentAtOpen)
	if isForeign(err) {
		err = damagedf("it") // which an owner sets aside
	}
	if err != nil {
		return Written{}, nil, fmt.Errorf("read the ledger: %w", err)
	}
	sealed, first := text(answer, 0)
	age, second := millis(answer, 1)
	if !first || !second {
		return Written{}, nil, fmt.Errorf("read the ledger: %w", errAnswer)
	}
	at := key.head().record(kindLedger, 0)
	spent, _ = unpackSpent(at, answer[2:])
	if age < 0 {
		return Written{Age: -1}, spent, nil
	}
	data, whole := at.unseal([]byte(sealed))
	if !whole {
		return Written{}, nil, fmt.Errorf("read the ledger: %w", damagedf("it"))
	}
	return Written{data, age}, spent, nil
}

// HandIn implements Store.
func (s *redisStore) HandIn(key Key, spent []byte) error {
	if len(spent) > longestSpent {
		return fmt.Errorf("hand in the calls: a ledger of %d bytes, of at most %d", len(spent), longestSpent)
	}
	sealed := key.head().record(kindLedger, 0).seal(append([]byte{}, spent...))
	_, err := s.number(context.Background(), OperationGrant, s.scripts.handIn, []string{s.record(key) + ":spent"}, sealed)
	if err != nil {
		return fmt.Errorf("hand in the calls: %w", err)
	}
	return nil
}
