package state

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Join implements Shared.
func (s *redisStore) Join(ctx context.Context, m Member) (before string, err error) {
	var life [8]byte
	_, _ = rand.Read(life[:]) // it never fails
	m.Identity, m.Beats = m.Name+"/"+hex.EncodeToString(life[:]), s.beats.Add(1)
	s.mu.Lock()
	tried := s.tried
	s.tried = append(slices.Clone(tried[max(0, len(tried)-7):]), m.Identity) // each strikes off the one before
	s.mu.Unlock()
	answer, err := s.run(ctx, OperationBeat, s.scripts.join, []string{s.members()}, m.Identity, m.Name+"/", m.pack())
	if err != nil {
		return "", err
	}
	born, before, err := twoTexts(answer)
	if err != nil {
		return "", err
	}
	if slices.Contains(tried, before) {
		before = "" // a join of ours that we have not heard of
	}
	s.mu.Lock()
	s.tried = nil
	s.identity, s.born, s.heard = m.Identity, born, time.Now()
	clear(s.open) // that of somebody else
	s.mu.Unlock()
	s.checkSettings(ctx)
	return before, nil
}

// Beat implements Shared.
func (s *redisStore) Beat(ctx context.Context, m Member) ([]Member, error) {
	s.mu.Lock()
	identity, born, silent := s.identity, s.born, s.silent()
	s.mu.Unlock()
	if identity == "" {
		return nil, ErrStruckOff
	}
	m.Name, m.Identity, m.Beats = identity[:strings.LastIndexByte(identity, '/')], identity, s.beats.Add(1)
	answer, err := s.run(ctx, OperationBeat, s.scripts.beat, []string{s.members()}, identity, m.pack(), born)
	if err != nil {
		return nil, err
	}
	is, ok := text(answer, 0)
	if ok && is == "0" {
		return nil, ErrStruckOff
	}
	var fields []any
	if len(answer) == 2 {
		fields, _ = answer[1].([]any)
	}
	if !ok || fields == nil {
		return nil, errAnswer
	}
	if is != born && silent {
		// Nobody can tell any more whether it was struck off before the list was lost.
		if err := s.Leave(ctx); err != nil {
			return nil, err
		}
		return nil, ErrStruckOff
	}
	s.mu.Lock()
	s.born, s.heard = is, time.Now()
	s.mu.Unlock()
	if is != born {
		s.logger.Warn("The shared state is not the one that it was; what this replica owns is written to it again")
		s.writeBack()
	}
	return unpackMembers(fields), nil
}

// silent tells that others may have struck this replica off, for they have not heard
// of it for longer than they are patient. It is called with the lock held.
func (s *redisStore) silent() bool { return time.Since(s.heard) > s.silence }

// Strike implements Shared.
func (s *redisStore) Strike(ctx context.Context, seen Member) (struck bool, err error) {
	answer, err := s.number(ctx, OperationBeat, s.scripts.strike, []string{s.members()}, seen.Identity, strconv.FormatUint(seen.Beats, 10))
	return answer == 1, err
}

// Leave implements Shared.
func (s *redisStore) Leave(ctx context.Context) error {
	s.mu.Lock()
	identity := s.identity
	s.mu.Unlock()
	if identity == "" {
		return nil
	}
	err := s.exchange(ctx, OperationBeat, func(ctx context.Context, client redis.UniversalClient) error {
		return client.HDel(ctx, s.members(), identity).Err()
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.identity = ""
	s.mu.Unlock()
	return nil
}

// Owners implements Shared. Where a record alone cannot be read nothing is known of
// an owner: to open it tells why.
func (s *redisStore) Owners(ctx context.Context, keys []Key) ([]string, error) {
	const batch = 1000
	owners := make([]string, 0, len(keys))
	for len(keys) > 0 {
		some := keys[:min(len(keys), batch)]
		keys = keys[len(some):]
		err := s.exchange(ctx, OperationLoad, func(ctx context.Context, client redis.UniversalClient) error {
			asked := make([]*redis.StringCmd, len(some))
			pipe := client.Pipeline()
			for i, key := range some {
				asked[i] = pipe.HGet(ctx, s.record(key), "o")
			}
			_, _ = pipe.Exec(ctx) // each says for itself
			failed, failures := error(nil), 0
			for _, answer := range asked {
				owner, err := answer.Result()
				if err != nil && err != redis.Nil { //nolint:errorlint // so it is documented
					failed, failures = err, failures+1
				}
				owners = append(owners, bounded(owner))
			}
			if failures == len(some) {
				return failed
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return owners, nil
}

// writeBack records what is open here in an engine that has lost it, so that others
// see whose it is before they could take it.
func (s *redisStore) writeBack() {
	s.mu.Lock()
	open := make([]*redisTenant, 0, len(s.open))
	for _, t := range s.open {
		open = append(open, t)
	}
	s.mu.Unlock()
	s.writing.Go(func() {
		for _, t := range open {
			if err := t.writeBack(); err != nil {
				s.logger.Warn("The shared state does not know yet that a tenant is this replica's", "tenant", t.key.Tenant, "err", err)
				return // the next grants do it
			}
		}
	})
}

// pack is a member as it stands in the list.
func (m Member) pack() string {
	leaving := "0"
	if m.Leaving {
		leaving = "1"
	}
	return strings.Join([]string{
		strconv.FormatUint(m.Beats, 10), leaving, url.QueryEscape(m.Name), url.QueryEscape(m.Config), url.QueryEscape(m.Version),
	}, "|")
}

// maxMembers bounds what is read of the list.
const maxMembers = 10_000

// unpackMembers reads the list. What does not make sense of a member is left out:
// it is one all the same, that never beats.
func unpackMembers(fields []any) (members []Member) {
	for i := 0; i+1 < len(fields) && len(members) < maxMembers; i += 2 {
		identity, _ := fields[i].(string)
		value, _ := fields[i+1].(string)
		slash := strings.LastIndexByte(identity, '/')
		if slash < 0 {
			continue // it is no member
		}
		m := Member{Name: identity[:slash], Identity: identity}
		parts := strings.Split(value, "|")
		m.Beats, _ = strconv.ParseUint(parts[0], 10, 64)
		if len(parts) >= 5 {
			m.Leaving = parts[1] == "1"
			m.Config, _ = url.QueryUnescape(parts[3])
			m.Version, _ = url.QueryUnescape(parts[4])
		}
		members = append(members, m)
	}
	return members
}

// errAnswer says that the engine answers in a way that no script of ours does.
var errAnswer = fmt.Errorf("%w: its answer is not understood", ErrOutOfReach)

func text(answer []any, i int) (string, bool) {
	if i >= len(answer) {
		return "", false
	}
	s, ok := answer[i].(string)
	return s, ok
}

func twoTexts(answer []any) (a, b string, err error) {
	a, first := text(answer, 0)
	b, second := text(answer, 1)
	if !first || !second {
		return "", "", errAnswer
	}
	return a, b, nil
}

// millis is a duration that the engine tells.
func millis(answer []any, i int) (time.Duration, bool) {
	if i >= len(answer) {
		return 0, false
	}
	n, ok := answer[i].(int64)
	const most = int64(1) << 42 // 139 years
	return time.Duration(max(-1, min(n, most))) * time.Millisecond, ok
}
