// Package hosts keeps something for each of the hosts that were used lately.
package hosts

import (
	"sync"
	"sync/atomic"
)

// Max is how many hosts are kept, so that a program that visits many does not need more
// and more memory.
const Max = 1024

// Map holds a T for each host. The zero Map is empty. It may be used by any number of
// goroutines. To find a host takes no lock and no allocation.
type Map[T any] struct {
	states atomic.Pointer[map[string]*T] // never modified, but replaced
	mu     sync.Mutex                    // held for that
}

// Of returns the T of a host, a new one if there is none. If there are Max others, it
// forgets those that forget says may be forgotten. If these are none, the new one is not
// kept. A nil forget gives up an arbitrary one.
func (m *Map[T]) Of(host string, forget func(*T) bool) *T {
	if state := m.find(host); state != nil {
		return state
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if state := m.find(host); state != nil {
		return state
	}
	next := map[string]*T{}
	if states := m.states.Load(); states != nil {
		full := len(*states) >= Max
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
	if len(next) < Max {
		next[host] = state
		m.states.Store(&next)
	}
	return state
}

func (m *Map[T]) find(host string) *T {
	if states := m.states.Load(); states != nil {
		return (*states)[host]
	}
	return nil
}

// Len returns the number of hosts.
func (m *Map[T]) Len() int {
	if states := m.states.Load(); states != nil {
		return len(*states)
	}
	return 0
}
