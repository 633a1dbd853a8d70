//go:build seeded

package main

import (
	"math/rand/v2"
	"sync"
	_ "unsafe" // for go:linkname
)

// The linker refuses this unless it is told not to check.
//
//go:linkname globalRand math/rand/v2.globalRand
var globalRand *rand.Rand

func init() {
	seedGlobalV2 = func(seed uint64) { *globalRand = *rand.New(&lockedSource{src: rand.NewPCG(seed, 0)}) }
}

// lockedSource is a source for several goroutines.
type lockedSource struct {
	mu  sync.Mutex
	src rand.Source
}

func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.src.Uint64()
}
