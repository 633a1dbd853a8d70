package watch_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/a0b132ce/retryablehttp/operations/internal/watch"
)

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestNotifyEndsTheWatchesOfOneName(t *testing.T) {
	var s watch.Set
	a1, stop1 := s.Watch("a")
	a2, stop2 := s.Watch("a")
	b, stopB := s.Watch("b")
	assert.Equal(t, 2, s.Len())
	s.Notify("unknown")
	s.Notify("a")
	assert.True(t, closed(a1))
	assert.True(t, closed(a2))
	assert.False(t, closed(b))

	a3, stop3 := s.Watch("a")
	stop1() // of a watch that has ended
	stop2()
	assert.False(t, closed(a3))
	s.Notify("a")
	assert.True(t, closed(a3), "stop of an older watch has not ended a new one")
	stop3()
	stopB()
	assert.Zero(t, s.Len())
}

func TestStopForgetsTheNameWithItsLastWatch(t *testing.T) {
	var s watch.Set
	a, stop := s.Watch("a")
	_, stopOther := s.Watch("a")
	stopOther()
	stopOther() // counts once
	assert.Equal(t, 1, s.Len())
	s.Notify("a")
	assert.True(t, closed(a))
	stop()

	_, stop = s.Watch("a")
	stop()
	assert.Zero(t, s.Len())
	s.Notify("a")
}

func TestConcurrentUse(t *testing.T) {
	var s watch.Set
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for range 200 {
				name := fmt.Sprint(i % 4)
				changed, stop := s.Watch(name)
				s.Notify(name)
				<-changed
				stop()
			}
		})
	}
	group.Wait()
	assert.Zero(t, s.Len())
}
