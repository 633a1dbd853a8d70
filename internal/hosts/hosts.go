// Package hosts keeps something for each of the hosts that were used lately.
package hosts

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Max is how many hosts are kept at most, so that a program that visits many does not need
// more and more memory.
const Max = shards * perShard

// A new host costs a copy of its shard, so a shard is small.
const (
	shards   = 32
	perShard = 32
)

// Map holds a T for each host. The zero Map is empty. It may be used by any number of
// goroutines. To find a host takes no lock and no allocation.
type Map[T any] struct {
	shards [shards]shard[T]
}

// shard holds the hosts with the same hash.
type shard[T any] struct {
	states atomic.Pointer[map[string]*T] // never modified, but replaced
	mu     sync.Mutex                    // held for that
}

var seed = maphash.MakeSeed()

// Of returns the T of a host, a new one if there is none. If there is no room for it, it
// forgets hosts that forget says may be forgotten. If these are none, the new one is not
// kept. A nil forget gives up an arbitrary one.
func (m *Map[T]) Of(host string, forget func(*T) bool) *T {
	s := &m.shards[maphash.String(seed, host)%shards]
	if state := s.find(host); state != nil {
		return state
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if state := s.find(host); state != nil {
		return state
	}
	next := map[string]*T{}
	if states := s.states.Load(); states != nil {
		full := len(*states) >= perShard
		for name, state := range *states {
			switch {
			case full && forget == nil:
				full = false
			case !full || !forget(state):
				next[name] = state
			}
		}
	}
	state := new(T)
	if len(next) < perShard {
		next[host] = state
		s.states.Store(&next)
	}
	return state
}

func (s *shard[T]) find(host string) *T {
	if states := s.states.Load(); states != nil {
		return (*states)[host]
	}
	return nil
}

// Len returns the number of hosts.
func (m *Map[T]) Len() int {
	n := 0
	for i := range m.shards {
		if states := m.shards[i].states.Load(); states != nil {
			n += len(*states)
		}
	}
	return n
}
