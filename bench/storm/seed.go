package main

import (
	mathrand "math/rand"
)

// seedGlobalV2 seeds the global functions of math/rand/v2, from which this library and others
// draw. It is nil unless the program is built with
//
//	-tags seeded -ldflags=-checklinkname=0
//
// because math/rand/v2 does not let anyone seed them.
var seedGlobalV2 func(seed uint64)

// seedLibraries makes what the libraries draw the same in every run with the seed.
func seedLibraries(seed uint64) {
	//lint:ignore SA1019 Some libraries draw from the global functions. The directive in main.go turns it on.
	mathrand.Seed(int64(seed))
	if seedGlobalV2 != nil {
		seedGlobalV2(seed)
	}
}
