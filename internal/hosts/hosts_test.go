package hosts

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

type state struct{ keep bool }

func TestMapKeepsWhatMayNotBeForgotten(t *testing.T) {
	var m Map[state]
	forget := func(s *state) bool { return !s.keep }
	kept := m.Of("kept", forget)
	kept.keep = true
	for i := range 3 * Max {
		m.Of(strconv.Itoa(i), forget)
		assert.LessOrEqual(t, m.Len(), Max)
	}
	assert.Same(t, kept, m.Of("kept", forget))
}

func TestMapThatIsFullKeepsNoMore(t *testing.T) {
	var m Map[state]
	never := func(*state) bool { return false }
	for i := range 4 * Max {
		m.Of(strconv.Itoa(i), never)
	}
	assert.Equal(t, Max, m.Len())
	assert.NotSame(t, m.Of("new", never), m.Of("new", never))
	assert.Same(t, m.Of("0", never), m.Of("0", never))
}

func TestMapGivesUpAnArbitraryOne(t *testing.T) {
	var m Map[state]
	for i := range 4 * Max {
		s := m.Of(strconv.Itoa(i), nil)
		assert.Same(t, s, m.Of(strconv.Itoa(i), nil))
	}
	assert.Equal(t, Max, m.Len())
}

func TestMapIsForManyGoroutines(t *testing.T) {
	var m Map[state]
	var group sync.WaitGroup
	found := make([]*state, 100)
	for i := range found {
		group.Go(func() { found[i] = m.Of("host", nil) })
	}
	group.Wait()
	for _, s := range found {
		assert.Same(t, found[0], s)
	}
	assert.Zero(t, testing.AllocsPerRun(100, func() { m.Of("host", nil) }))
}
