// Package watch lets goroutines wait for changes of named things.
package watch

import "sync"

// Set is a set of names that are watched. The zero Set is empty. It is safe for concurrent
// use.
type Set struct {
	mu      sync.Mutex
	entries map[string]*entry
}

// entry is shared by all that watch a name.
type entry struct {
	changed  chan struct{}
	watchers int
}

// Watch returns a channel that is closed by the next call of Notify with name. The caller
// must call stop, which may be called more than once.
func (s *Set) Watch(name string) (changed <-chan struct{}, stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[name]
	if e == nil {
		if s.entries == nil {
			s.entries = make(map[string]*entry)
		}
		e = &entry{changed: make(chan struct{})}
		s.entries[name] = e
	}
	e.watchers++
	return e.changed, sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.watchers--
		if e.watchers == 0 && s.entries[name] == e {
			delete(s.entries, name)
		}
	})
}

// Notify closes the channels of all that watch name.
func (s *Set) Notify(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[name]; e != nil {
		delete(s.entries, name)
		close(e.changed)
	}
}

// Len returns the number of names that are watched.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}
