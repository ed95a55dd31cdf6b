package client

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"

	"m365_defender_exporter/internal/incident"
)

// repeats watches over what net/http does on its own account: when a kept
// connection turns out to be closed, its transport sends a GET once more, and
// the server may have counted the first one. Each repeat takes a grant like any
// other attempt; where none is to be had at once, the connection is closed
// before anything is written to it, and the attempt fails.
type repeats struct {
	limiter Limiter
	pass    incident.Pass

	mu    sync.Mutex
	began bool
	taken []uint64
}

// watch returns the context for one request.
func (r *repeats) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.began {
			r.began = true
			return
		}
		id, _ := r.limiter.Take(time.Now(), r.pass)
		if id == 0 {
			_ = info.Conn.Close()
			return
		}
		r.taken = append(r.taken, id)
	}})
}

// settle ends what the repeats took.
func (r *repeats) settle(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.taken {
		r.limiter.Settle(id, now)
	}
	r.taken = nil
}
